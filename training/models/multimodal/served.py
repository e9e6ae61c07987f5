"""The cores of conversation students as the served `fusion` model: the same signature, fewer parameters.

What is served is trained by training/recipes/fusion.py around another net; this shows that a core can take its place.
"""

import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS, MODALITIES, POLARITIES
from contract.models import EMBEDDING_DIM
from training.models.fusion import SLOTS, Fused, calibrated
from training.models.multimodal.cores import Core


class ServedFusion(nn.Module):
    """AUDIO [B, 40, D], AUDIO_MASK, VIDEO [B, 20, D], VIDEO_MASK, TEXT [B, 64, D], TEXT_MASK -> four outputs."""

    temperature: Tensor

    def __init__(self, core: type[Core], width: int = 64, dropout: float = 0.1) -> None:
        """Take the kind of core and its width."""
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(EMBEDDING_DIM, width) for _ in MODALITIES)
        self.core = core(SLOTS, width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.sentiment = nn.Linear(width, 1)
        self.polarity = nn.Linear(width, len(POLARITIES))
        self.emotion = nn.Linear(width, len(EMOTIONS))
        self.register_buffer("temperature", torch.ones(2))  # of polarity, of emotion

    def fuse(self, embeddings: tuple[Tensor, Tensor, Tensor], masks: tuple[Tensor, Tensor, Tensor]) -> Fused:
        """Fuse embeddings [B, slots, D] under masks [B, slots]; what a masked slot holds, even NaN, does not matter."""
        tokens = [
            project(torch.where(mask.unsqueeze(-1) > 0, x, 0.0))
            for x, mask, project in zip(embeddings, masks, self.project, strict=True)
        ]
        mixed = self.core(tokens, masks)
        fused = self.dropout(mixed.fused)
        return Fused(torch.tanh(self.sentiment(fused)), self.polarity(fused), self.emotion(fused), mixed.contribution)

    def forward(
        self, audio: Tensor, audio_mask: Tensor, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return SENTIMENT [B, 1], POLARITY [B, 3], EMOTION [B, 7], CONTRIBUTION [B, 3]."""
        return calibrated(self.fuse((audio, video, text), (audio_mask, video_mask, text_mask)), self.temperature)
