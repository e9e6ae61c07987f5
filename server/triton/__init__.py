"""The Triton server that ships in the nvidia-pytriton wheel: found, started, supervised and stopped.

`EmbeddedTriton` (embedded.py) is the way in. This package knows the wheel, processes and the KServe v2 protocol; it
knows neither sessions nor the model contract: any model repository will do.
"""
