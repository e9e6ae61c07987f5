"""What students and teachers give out, and the batch that it was computed for: all that a method or a weigher may see."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Output:
    """Outputs of one model for a batch of B samples."""

    logits: Tensor | None = None
    """[B, C], before any softmax; None for a model that only scores."""
    score: Tensor | None = None
    """[B], a continuous sentiment; None for a model that only classifies."""
    variance: Tensor | None = None
    """[B], of the score, where the model gives one."""
    features: dict[str, Tensor] = field(default_factory=dict)
    """Layer name -> [B, T, D] for sequences, [B, D, H, W] for maps, or [B, D]."""
    masks: dict[str, Tensor] = field(default_factory=dict)
    """Layer name -> [B, T], 1 where the sequence has a step; layers without one have all their steps."""
    present: Tensor | None = None
    """[B, 3], 1 where the sample has audio, video, text."""


@dataclass
class Batch:
    """Labels and bookkeeping of a batch."""

    target: Tensor | None = None
    """[B], class index."""
    score: Tensor | None = None
    """[B], a continuous sentiment."""
    index: Tensor | None = None
    """[B], sample ids: the position in the training set."""
    step: int = 0
    """Optimiser steps done so far."""
    total_steps: int = 0
    """Steps of the whole run, for warm-ups; 0 when unknown."""
