"""Weighers of several teachers: each one small file with its paper and its equation, found by being there."""

from training.distillation.discovery import parts_of
from training.distillation.weighers.base import Weigher
from training.distillation.weighers.combine import total
from training.distillation.weighers.recorder import WeightRecorder

WEIGHERS: dict[str, type[Weigher]] = parts_of(__name__, __path__, Weigher)  # type: ignore[type-abstract]

__all__ = ["WEIGHERS", "Weigher", "WeightRecorder", "total"]
