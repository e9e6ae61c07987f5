"""Weighers of several teachers: each one small file with its paper and its equation, found by being there.

Those of installed packages are in WEIGHERS by their entry points `moodstream.weighers` (training/names.py).
"""

from training.distillation.discovery import parts_of
from training.distillation.weighers.base import Weigher
from training.distillation.weighers.combine import total
from training.distillation.weighers.recorder import WeightRecorder
from training.names import Registry

WEIGHERS: Registry[type[Weigher]] = Registry(
    "weigher",
    "moodstream.weighers",
    parts_of(__name__, __path__, Weigher),  # type: ignore[type-abstract]
)

__all__ = ["WEIGHERS", "Weigher", "WeightRecorder", "total"]
