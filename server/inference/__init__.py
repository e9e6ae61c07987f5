"""Runs the models: one `Engine` interface, Triton and in-process implementations, batching over sessions."""
