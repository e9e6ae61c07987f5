"""The audio student: raw PCM -> one embedding per 100 ms, strictly causal inside the chunk too.

Log-mel, two strided convolutions down to 10 Hz, then dilated depthwise-separable residual blocks whose receptive field
covers the whole second of context.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS
from contract.models import EMBEDDING_DIM
from contract.timing import AUDIO_SLOTS_PER_HOP
from training.models.served.heads import EmotionHead, Encoded
from training.models.served.logmel import MELS, LogMel

_DILATIONS: Final = (1, 2, 4, 1)
_STEM_WIDTH: Final = 96


class CausalConv(nn.Module):
    """A convolution over [B, C, T] whose output t sees no input after stride * (t + 1) - 1."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.left = dilation * (kernel - 1) + 1 - stride
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation, groups=groups, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, outputs, T / stride]."""
        normed: Tensor = self.norm(self.conv(nn.functional.pad(x, (self.left, 0))))
        return normed


class SeparableBlock(nn.Module):
    """x + pointwise(ReLU(pointwise(depthwise(x)))), causal."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = CausalConv(width, width, 3, dilation=dilation, groups=width)
        self.expand = nn.Conv1d(width, 2 * width, 1)
        self.contract = nn.Conv1d(2 * width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, T] -> the same shape."""
        hidden = self.expand(self.depthwise(x)).relu()
        residual: Tensor = x + self.contract(self.dropout(hidden))
        return residual


class AudioEncoder(nn.Module):
    """PCM [B, 24000] -> EMBEDDING [B, 5, D], EMOTION [B, 7], SENTIMENT [B, 1]."""

    def __init__(self, dropout: float = 0.2, labels: Sequence[str] = EMOTIONS) -> None:
        super().__init__()
        width = EMBEDDING_DIM
        self.logmel = LogMel()
        self.scale = nn.BatchNorm1d(MELS)
        self.stem = nn.Sequential(
            CausalConv(MELS, _STEM_WIDTH, 5, stride=2),
            nn.ReLU(),
            CausalConv(_STEM_WIDTH, width, 7, stride=5),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*(SeparableBlock(width, dilation, dropout) for dilation in _DILATIONS))
        self.norm = nn.LayerNorm(width)
        self.head = EmotionHead(width, dropout, labels)

    def encode(self, pcm: Tensor) -> Encoded:
        """Return the embeddings [B, 5, D] of the newest 0.5 s and what the hop says."""
        return self.encode_mel(self.logmel(pcm))

    def encode_mel(self, mel: Tensor) -> Encoded:
        """The same from log-mel frames [B, MELS, 150]: training masks stripes of them."""
        embedding = self._slots(mel)[:, -AUDIO_SLOTS_PER_HOP:]
        logits, sentiment = self.head(embedding.mean(dim=1))
        return Encoded(embedding, logits, sentiment)

    def hops(self, mel: Tensor) -> Encoded:
        """Return what every hop of the chunk says: logits [B, 3, C], sentiment [B, 3, 1], all embeddings [B, 15, D].

        The older hops train the net as well. They have less context, as the first hops of a session have. `layers`: the
        stem's 15 steps and those after half of the blocks.
        """
        stem: Tensor = self.stem(self.scale(mel))
        middle: Tensor = self.blocks[: len(_DILATIONS) // 2](stem)
        slots: Tensor = self.norm(self.blocks[len(_DILATIONS) // 2 :](middle).transpose(1, 2))
        logits, sentiment = self.head(torch.unflatten(slots, 1, (-1, AUDIO_SLOTS_PER_HOP)).mean(dim=2))
        return Encoded(slots, logits, sentiment, (stem.transpose(1, 2), middle.transpose(1, 2)))

    def _slots(self, mel: Tensor) -> Tensor:
        """Return the embeddings of all 100 ms slots of the chunk, [B, 15, D]."""
        slots: Tensor = self.norm(self.blocks(self.stem(self.scale(mel))).transpose(1, 2))
        return slots

    def forward(self, pcm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return EMBEDDING, EMOTION, SENTIMENT."""
        said = self.encode(pcm)
        return said.embedding, self.head.probabilities(said.logits), said.sentiment
