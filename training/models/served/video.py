"""The face student: one RGB crop -> one embedding. Luma and normalisation are part of the graph."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS
from contract.models import EMBEDDING_DIM
from training.models.served.heads import EmotionHead, Encoded

_LUMA = (0.299, 0.587, 0.114)
_DARK = 4.0
"""Grey levels added to the deviation, so that a flat image stays flat instead of becoming amplified noise."""


class ResidualBlock(nn.Module):
    """Two dense 3x3 convolutions with a projected shortcut; halves the resolution when `stride` is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, 3, stride)
        self.second = _conv(outputs, outputs, 3, 1)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        residual: Tensor = self.second(self.first(x).relu()) + self.shortcut(x)
        return residual.relu()


class VideoEncoder(nn.Module):
    """FACE uint8 [B, 64, 64, 3] RGB -> EMBEDDING [B, D], EMOTION [B, 7], SENTIMENT [B, 1]."""

    luma: Tensor

    def __init__(self, dropout: float = 0.3, labels: Sequence[str] = EMOTIONS) -> None:
        super().__init__()
        width = EMBEDDING_DIM
        self.register_buffer("luma", torch.tensor(_LUMA), persistent=False)
        self.stem = nn.Sequential(_conv(1, 24, 3, 2), nn.ReLU(), _conv(24, 48, 3, 2), nn.ReLU())
        self.blocks = nn.Sequential(ResidualBlock(48, 48, 1), ResidualBlock(48, 64, 2), ResidualBlock(64, width, 2))
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.head = EmotionHead(width, dropout, labels)

    def encode(self, face: Tensor) -> Encoded:
        """Return the embedding [B, D] and what the face says."""
        return self.encode_grey(face.float() @ self.luma)

    def encode_grey(self, grey: Tensor) -> Encoded:
        """The same from grey levels 0..255, float [B, 64, 64]: the training images have no colour."""
        mean = grey.mean(dim=(1, 2), keepdim=True)
        centred = grey - mean
        deviation = centred.square().mean(dim=(1, 2), keepdim=True).sqrt()
        image = (centred / (deviation + _DARK)).unsqueeze(1)
        middle: Tensor = self.blocks[:-1](self.stem(image))
        last: Tensor = self.blocks[-1](middle)
        embedding = self.norm(self.project(last.mean(dim=(2, 3))))
        logits, sentiment = self.head(embedding)
        return Encoded(embedding, logits, sentiment, (middle, last))

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return EMBEDDING, EMOTION, SENTIMENT."""
        said = self.encode(face)
        return said.embedding, self.head.probabilities(said.logits), said.sentiment


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )
