"""What the three encoders end with: emotion logits, a sentiment, and the calibration of the probabilities."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS


class Encoded(NamedTuple):
    """What an encoder says about one item."""

    embedding: Tensor
    """[B, T, D], or [B, D] for a single frame."""
    logits: Tensor
    """[B, C] of the C emotions that the head knows, all seven as a rule, before calibration."""
    sentiment: Tensor
    """[B, 1] in [-1, 1]."""
    layers: tuple[Tensor, ...] = ()
    """What lies below: [B, T, D] of sequences, [B, C, H, W] of images."""


class EmotionHead(nn.Module):
    """Emotion logits and sentiment of a pooled embedding.

    `temperature` is fitted on validation data after training (Guo et al. 2017, *On calibration of modern neural
    networks*), and divides the logits in `probabilities` alone. A head may know some of the seven emotions only, C of
    them: what is served has seven all the same, 0 for the others.
    """

    temperature: Tensor
    places: Tensor

    def __init__(self, width: int, dropout: float = 0.0, labels: Sequence[str] = EMOTIONS) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.emotion = nn.Linear(width, len(labels))
        self.sentiment = nn.Linear(width, 1)
        self.register_buffer("temperature", torch.ones(1))
        places = torch.tensor([EMOTIONS.index(label) for label in labels])
        self.register_buffer("places", nn.functional.one_hot(places, len(EMOTIONS)).float(), persistent=False)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, C] and sentiment [B, 1] of `pooled` [B, width]."""
        pooled = self.dropout(pooled)
        return self.emotion(pooled), torch.tanh(self.sentiment(pooled))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities [B, 7]."""
        known = torch.softmax(logits / self.temperature, dim=-1)
        return known if len(self.places) == len(EMOTIONS) else known @ self.places
