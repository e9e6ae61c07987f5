"""Students that hear: log-mel frames of a clip -> one output, with sequences at 10 Hz.

They are small enough for a comparison of methods in seconds; the served audio encoder is another net (training/models).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Inputs, Output
from training.models.answer import Head, masked_mean
from training.models.served.audio import CausalConv, SeparableBlock

FRAMES_PER_SLOT = 10
"""Log-mel frames of 10 ms in a slot of 100 ms."""


class ConvStudent(nn.Module):
    """A causal convolutional net: two strided convolutions down to 10 Hz, then dilated separable residual blocks.

    Features: `h1` after the strided convolutions, `h2` after the blocks, both [B, T / 10, width], and `penultimate`
    [B, 2 width], mean and maximum over time.
    """

    def __init__(
        self,
        mels: int,
        values: Sequence[float],
        width: int = 96,
        dilations: Sequence[int] = (1, 2, 4),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(mels)
        self.stem = nn.Sequential(
            CausalConv(mels, width // 2, 3, stride=2), nn.ReLU(), CausalConv(width // 2, width, 7, stride=5), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(SeparableBlock(width, dilation, dropout=0.0) for dilation in dilations))
        self.norm = nn.LayerNorm(width)
        self.head = Head(2 * width, values, dropout)

    def forward(self, inputs: Inputs) -> Output:
        """Read `logmel` [B, T, mels] and `logmel_mask` [B, T]; T is a multiple of 10."""
        frames, mask = inputs["logmel"].float(), slot_mask(inputs["logmel_mask"])
        x = self.scale(frames.transpose(1, 2)) * inputs["logmel_mask"].unsqueeze(1)
        early = self.stem(x)
        late = self.norm(self.blocks(early).transpose(1, 2))
        penultimate = torch.cat([masked_mean(late, mask), masked_maximum(late, mask)], dim=-1)
        logits, score = self.head(penultimate)
        features = {"h1": early.transpose(1, 2), "h2": late, "penultimate": penultimate}
        return Output(logits, score, features=features, masks={"h1": mask, "h2": mask})


class GruStudent(nn.Module):
    """A recurrent net over 10 Hz slots: `h1` projected slots, `h2` states, `penultimate` their mean and maximum."""

    def __init__(self, mels: int, values: Sequence[float], width: int = 96, dropout: float = 0.3) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(mels)
        self.project = nn.Sequential(nn.Linear(mels * FRAMES_PER_SLOT, width), nn.ReLU(), nn.LayerNorm(width))
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.head = Head(2 * width, values, dropout)

    def forward(self, inputs: Inputs) -> Output:
        """Read `logmel` [B, T, mels] and `logmel_mask` [B, T]; T is a multiple of 10."""
        frames, mask = inputs["logmel"].float(), slot_mask(inputs["logmel_mask"])
        x = (self.scale(frames.transpose(1, 2)) * inputs["logmel_mask"].unsqueeze(1)).transpose(1, 2)
        slots = self.project(torch.unflatten(x, 1, (-1, FRAMES_PER_SLOT)).flatten(2))
        states, _ = self.recurrent(slots)
        penultimate = torch.cat([masked_mean(states, mask), masked_maximum(states, mask)], dim=-1)
        logits, score = self.head(penultimate)
        features = {"h1": slots, "h2": states, "penultimate": penultimate}
        return Output(logits, score, features=features, masks={"h1": mask, "h2": mask})


def slot_mask(frame_mask: Tensor) -> Tensor:
    """Return float [B, T / 10]: slots of which at least half the frames are there, and the first in any case."""
    share = torch.unflatten(frame_mask.float(), 1, (-1, FRAMES_PER_SLOT)).mean(-1)
    mask = (share >= 0.5).float()
    mask[:, 0] = (share[:, 0] > 0).float()
    return mask


def masked_maximum(x: Tensor, mask: Tensor) -> Tensor:
    """Maximum over the steps of [B, T, D] that are there, mask [B, T]; 0 where none is."""
    there = mask.unsqueeze(-1) > 0
    maximum = torch.where(there, x, float("-inf")).amax(1)
    return torch.where(there.any(1), maximum, 0.0)
