"""The front end's calls: from gRPC to sessions and back. It alone knows the wire contract."""
