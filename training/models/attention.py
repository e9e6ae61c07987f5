"""Masked attention, written out so that a masked position has weight exactly zero, in PyTorch and in ONNX."""

import torch
from torch import Tensor, nn

_MASKED = -1e9
"""Added to a masked score: exp of it is exactly 0 in FP32 as long as one position is present."""


def masked_bias(mask: Tensor) -> Tensor:
    """Turn a mask [.., T] (1 = present) into what is added to attention scores."""
    return (1.0 - mask) * _MASKED


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where `mask` is 1, exactly 0 elsewhere, all 0 when nothing is present."""
    shifted = scores + masked_bias(mask)
    weights = torch.exp(shifted - shifted.amax(dim=-1, keepdim=True)) * mask
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-12)


class Attention(nn.Module):
    """Multi-head attention of queries [B, Q, D] over `context` [B, T, D], with `bias` [B, T] added to the scores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        """Return [B, Q, D]."""
        query, key, value = self._split(self.query(x)), self._split(self.key(context)), self._split(self.value(context))
        scores = query @ key.transpose(-1, -2) * self.scale + bias[:, None, None, :]
        mixed = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)
        out: Tensor = self.out(mixed)
        return out

    def _split(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, linear: ReLU, as it trains and runs faster than smoother ones on a CPU."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))
