"""Weighers of several teachers: each one small file with its paper and its equation (see WEIGHERS below)."""

from training.weighers.attention_select import AttentionSelect
from training.weighers.base import Weigher
from training.weighers.combine import total
from training.weighers.confidence import Confidence
from training.weighers.entropy import Entropy
from training.weighers.meta import Meta
from training.weighers.recorder import WeightRecorder
from training.weighers.uniform import Uniform

WEIGHERS: dict[str, type[Weigher]] = {
    "uniform": Uniform,
    "entropy": Entropy,
    "confidence": Confidence,
    "attention_select": AttentionSelect,
    "meta": Meta,
}

__all__ = ["WEIGHERS", "Weigher", "WeightRecorder", "total"]
