"""The fusion student: three masked sequences of embeddings -> one answer, and how much each modality had to say in it.

Eight learned latents read all tokens twice. What they found asks each modality for a summary z_m, a gate g weighs the
modalities that are present, and every head is linear in z = sum_m g_m z_m. The logits are therefore the g-weighted mean
of what each modality says in the light of the others: `CONTRIBUTION` = g is a share of the answer, not a by-product.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS, MODALITIES, POLARITIES, POLARITY_SENTIMENT
from contract.models import EMBEDDING_DIM
from contract.text import TEXT_TOKENS
from contract.timing import AUDIO_SLOTS, VIDEO_SLOTS
from training.models.attention import Attention, FeedForward, masked_bias, masked_softmax

LATENTS: Final = 8
_LAYERS: Final = 2
_HEADS: Final = 4
SLOTS: Final = (AUDIO_SLOTS, VIDEO_SLOTS, TEXT_TOKENS)


class Fused(NamedTuple):
    """What fusion says about one window, before calibration."""

    polarity_logits: Tensor
    """[B, 3]."""
    emotion_logits: Tensor
    """[B, 7]."""
    contribution: Tensor
    """[B, 3]; sums to 1, or is all 0 when nothing is present."""
    mixed: Tensor
    """[B, D], what the heads read."""
    summaries: Tensor
    """[B, 3, D], what each modality has to say."""
    latents: Tensor
    """[B, LATENTS, D]."""


class LatentLayer(nn.Module):
    """Latents read the tokens, then think."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.read_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = Attention(width, _HEADS)
        self.feed = FeedForward(width, 2 * width, dropout)

    def forward(self, latents: Tensor, tokens: Tensor, bias: Tensor) -> Tensor:
        """[B, LATENTS, D] -> the same shape."""
        latents = latents + self.read(self.read_norm(latents), tokens, bias)
        out: Tensor = latents + self.feed(self.feed_norm(latents))
        return out


class Fusion(nn.Module):
    """AUDIO [B, 40, D], AUDIO_MASK, VIDEO [B, 20, D], VIDEO_MASK, TEXT [B, 64, D], TEXT_MASK -> four outputs."""

    temperature: Tensor

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        width = EMBEDDING_DIM
        self.project = nn.ModuleList(nn.Linear(width, width) for _ in MODALITIES)
        self.positions = nn.ParameterList(torch.randn(slots, width) * 0.02 for slots in SLOTS)
        self.nothing = nn.Parameter(torch.zeros(1, 1, width))
        self.latents = nn.Parameter(torch.randn(1, LATENTS, width) * 0.1)
        self.layers = nn.ModuleList(LatentLayer(width, dropout) for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, width)
        self.summary = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)) for _ in MODALITIES)
        self.gate = nn.ModuleList(nn.Linear(2 * width + 1, 1) for _ in MODALITIES)
        self.dropout = nn.Dropout(dropout)
        self.polarity = nn.Linear(width, len(POLARITIES))
        self.emotion = nn.Linear(width, len(EMOTIONS))
        self.register_buffer("temperature", torch.ones(2))  # of polarity, of emotion

    def fuse(self, embeddings: tuple[Tensor, Tensor, Tensor], masks: tuple[Tensor, Tensor, Tensor]) -> Fused:
        """Fuse embeddings [B, slots, D] under masks [B, slots]; what a masked slot holds, even NaN, does not matter."""
        tokens = [
            torch.where(mask.unsqueeze(-1) > 0, project(x) + position, torch.zeros(()))
            for x, mask, project, position in zip(embeddings, masks, self.project, self.positions, strict=True)
        ]
        latents = self._read(tokens, masks)
        found = self.norm(latents.mean(dim=1))
        question = self.ask(found).unsqueeze(1)
        summaries, scores = [], []
        for x, mask, summary, gate in zip(tokens, masks, self.summary, self.gate, strict=True):
            match = question @ x.transpose(1, 2) * EMBEDDING_DIM**-0.5
            weights = torch.softmax(match + masked_bias(mask).unsqueeze(1), dim=-1)
            summaries.append(summary((weights @ x).squeeze(1)))
            scores.append(gate(torch.cat([summaries[-1], found, mask.mean(dim=1, keepdim=True)], dim=-1)))
        present = torch.stack([mask.amax(dim=1) for mask in masks], dim=1)
        contribution = masked_softmax(torch.cat(scores, dim=1), present)
        said = torch.stack(summaries, dim=1)
        mixed = self.dropout((contribution.unsqueeze(-1) * said).sum(dim=1))
        return Fused(self.polarity(mixed), self.emotion(mixed), contribution, mixed, said, latents)

    def _read(self, tokens: list[Tensor], masks: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the latents, [B, LATENTS, D]. One learned token is always present: attention needs something."""
        batch = tokens[0].shape[0]
        context = torch.cat([self.nothing.expand(batch, -1, -1), *tokens], dim=1)
        bias = nn.functional.pad(masked_bias(torch.cat(masks, dim=1)), (1, 0))
        latents = self.latents.expand(batch, -1, -1)
        for layer in self.layers:
            latents = layer(latents, context, bias)
        return latents

    def forward(
        self, audio: Tensor, audio_mask: Tensor, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return SENTIMENT [B, 1], POLARITY [B, 3], EMOTION [B, 7], CONTRIBUTION [B, 3]."""
        return calibrated(self.fuse((audio, video, text), (audio_mask, video_mask, text_mask)), self.temperature)


def calibrated(fused: Fused, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what is served: probabilities at the temperatures [2] of polarity and emotion in the place of logits.

    The sentiment is what the polarities stand for, so that the two can't contradict each other.
    """
    polarity = torch.softmax(fused.polarity_logits / temperature[0], dim=-1)
    emotion = torch.softmax(fused.emotion_logits / temperature[1], dim=-1)
    sentiment = polarity @ polarity.new_tensor(POLARITY_SENTIMENT).unsqueeze(-1)
    return sentiment, polarity, emotion, fused.contribution
