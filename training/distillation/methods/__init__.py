"""Distillation methods: each one small file with its paper and its equation, and in METHODS because it is there.

Those of installed packages are in it by their entry points `moodstream.methods` (training/names.py).
"""

from training.distillation.discovery import parts_of
from training.distillation.methods.base import Method
from training.names import Registry

METHODS: Registry[type[Method]] = Registry(
    "method",
    "moodstream.methods",
    parts_of(__name__, __path__, Method),  # type: ignore[type-abstract]
)

__all__ = ["METHODS", "Method"]
