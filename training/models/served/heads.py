"""What the three encoders end with: emotion logits, a sentiment, and the calibration of the probabilities."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS


class Encoded(NamedTuple):
    """What an encoder says about one item."""

    embedding: Tensor
    """[B, T, D], or [B, D] for a single frame."""
    logits: Tensor
    """[B, 7], before calibration."""
    sentiment: Tensor
    """[B, 1] in [-1, 1]."""


class EmotionHead(nn.Module):
    """Emotion logits and sentiment of a pooled embedding.

    `temperature` is fitted on validation data after training (Guo et al. 2017, *On calibration of modern neural
    networks*), and divides the logits in `probabilities` alone.
    """

    temperature: Tensor

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.emotion = nn.Linear(width, len(EMOTIONS))
        self.sentiment = nn.Linear(width, 1)
        self.register_buffer("temperature", torch.ones(1))

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, 7] and sentiment [B, 1] of `pooled` [B, width]."""
        pooled = self.dropout(pooled)
        return self.emotion(pooled), torch.tanh(self.sentiment(pooled))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities [B, 7]."""
        return torch.softmax(logits / self.temperature, dim=-1)
