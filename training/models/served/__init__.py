"""The served students, in PyTorch: one file a model."""
