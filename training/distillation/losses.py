"""Losses on labels as pure functions, one value per sample: the caller weighs and reduces them.

Those on teachers are in `training.distillation.methods`.
"""

import torch
from torch import Tensor
from torch.nn import functional


def classification(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy [B] of logits [B, C] with class indices [B]; 0 where the target is -1 (no label)."""
    return functional.cross_entropy(logits, target, ignore_index=-1, label_smoothing=smoothing, reduction="none")


def regression(sentiment: Tensor, target: Tensor) -> Tensor:
    """Squared error [B] of sentiment [B, 1] with targets [B]; 0 where the target is NaN (no label)."""
    known = ~target.isnan()
    difference = torch.where(known, sentiment.squeeze(-1) - torch.where(known, target, 0.0), 0.0)
    return difference.square()


def sentiment_entropy(sentiment: Tensor, target: Tensor) -> Tensor:
    """Cross entropy [B] between sentiments read as probabilities of positive, (1 + s) / 2; 0 where the target is NaN.

    Least at `sentiment` = `target`, and for targets of -1 and 1 the ordinary logistic loss.
    """
    known = ~target.isnan()
    probability = ((1 + sentiment.squeeze(-1)) / 2).clamp(1e-6, 1 - 1e-6)
    goal = (1 + torch.where(known, target, 0.0)) / 2
    loss = functional.binary_cross_entropy(probability, goal, reduction="none")
    return torch.where(known, loss, 0.0)
