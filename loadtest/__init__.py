"""Load tests of a running server: paced sessions, latency percentiles, what they cost. It never imports the server."""
