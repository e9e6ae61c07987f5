"""Weighers of several teachers: each one small file with its paper and its equation ;
those of installed packages by their entry points `moodstream.weighers`."""

from training.distillation.weighers.attention_select import AttentionSelect
from training.distillation.weighers.base import Weigher
from training.distillation.weighers.combine import total
from training.distillation.weighers.confidence import Confidence
from training.distillation.weighers.entropy import Entropy
from training.distillation.weighers.meta import Meta
from training.distillation.weighers.recorder import WeightRecorder
from training.distillation.weighers.uniform import Uniform
from training.names import Registry

_OWN: dict[str, type[Weigher]] = {
    "uniform": Uniform,
    "entropy": Entropy,
    "confidence": Confidence,
    "attention_select": AttentionSelect,
    "meta": Meta,
}

WEIGHERS: Registry[type[Weigher]] = Registry("weigher", "moodstream.weighers", _OWN)

__all__ = ["WEIGHERS", "Weigher", "WeightRecorder", "total"]
