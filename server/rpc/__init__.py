"""The calls that clients make, over gRPC. It alone knows the wire; what a session does is in `server.live`."""
