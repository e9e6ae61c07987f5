"""The text student: a small transformer over word pieces. Padding never changes the result."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS
from contract.models import EMBEDDING_DIM
from contract.text import TEXT_TOKENS
from training.models.attention import Attention, FeedForward, masked_bias
from training.models.served.heads import EmotionHead, Encoded

VOCABULARY: Final = 8192
_HEADS: Final = 4
_LAYERS: Final = 2


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, _HEADS)
        self.feed = FeedForward(width, 4 * width, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[B, T, D] -> the same shape."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, normed, bias))
        out: Tensor = x + self.dropout(self.feed(self.feed_norm(x)))
        return out


class TextEncoder(nn.Module):
    """INPUT_IDS, ATTENTION_MASK int64 [B, 64] -> EMBEDDING [B, 64, D] (0 where masked), EMOTION, SENTIMENT."""

    def __init__(self, dropout: float = 0.2, labels: Sequence[str] = EMOTIONS) -> None:
        super().__init__()
        width = EMBEDDING_DIM
        self.pieces = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.randn(TEXT_TOKENS, width) * 0.02)
        nn.init.normal_(self.pieces.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(width, dropout) for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(width)
        self.head = EmotionHead(width, dropout, labels)

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Encoded:
        """Return the embeddings [B, T, D] and what the text says; T may be shorter than 64 in training."""
        mask = attention_mask.float()
        bias = masked_bias(mask)
        x = self.dropout(self.pieces(input_ids) + self.positions[: input_ids.shape[1]])
        layers = []
        for layer in self.layers:
            x = layer(x, bias)
            layers.append(x)
        embedding = self.norm(x) * mask.unsqueeze(-1)
        pooled = embedding.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1.0)
        logits, sentiment = self.head(pooled)
        return Encoded(embedding, logits, sentiment, tuple(layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return EMBEDDING, EMOTION, SENTIMENT."""
        said = self.encode(input_ids, attention_mask)
        return said.embedding, self.head.probabilities(said.logits), said.sentiment
