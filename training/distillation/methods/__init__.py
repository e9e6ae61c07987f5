"""Distillation methods: each one small file with its paper and its equation, and in METHODS because it is there."""

from training.distillation.discovery import parts_of
from training.distillation.methods.base import Method

METHODS: dict[str, type[Method]] = parts_of(__name__, __path__, Method)  # type: ignore[type-abstract]

__all__ = ["METHODS", "Method"]
