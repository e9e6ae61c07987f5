"""Live sessions: their admission, their limits, and the shell that drives a session's core. It knows no gRPC."""
