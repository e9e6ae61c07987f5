"""ACL-SA, after the attention-based CNN-BiLSTM for sentiment over TF-IDF weighted word vectors [1 of docs/methods].

The order of the parts is the paper's: word vectors times TF-IDF, convolution, attention, bidirectional LSTM. Where the
paper takes GloVe, the teacher starts from the word pieces of a pretrained encoder, and the student from noise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Inputs, Output
from training.models.answer import Head, masked_mean
from training.models.attention import Attention, masked_bias
from training.models.students.text import finished, lengthened, run_recurrent, shortened

_HEADS = 4


class AclSa(nn.Module):
    """Features: `h1` after the convolution, `h2` after the LSTM [B, T, width], `penultimate` their mean and maximum."""

    idf: Tensor

    def __init__(self, idf: Tensor, values: Sequence[float], width: int = 128, dropout: float = 0.4) -> None:
        """Take the inverse document frequency of every piece, [V]; see `inverse_document_frequency`."""
        super().__init__()
        self.register_buffer("idf", idf, persistent=False)
        self.pieces = nn.Embedding(len(idf), width)
        nn.init.normal_(self.pieces.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)
        self.convolve = nn.Conv1d(width, width, 3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, _HEADS)
        self.recurrent = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.head = Head(2 * width, values, dropout)

    def forward(self, inputs: Inputs) -> Output:
        """Read `ids` [B, T] and `ids_mask` [B, T]; computes only as far as the longest text of the batch."""
        ids, mask, padding = shortened(inputs)
        weighted = self.pieces(ids) * self.tf_idf(ids, mask).unsqueeze(-1)
        local = self.convolve(self.dropout(weighted).transpose(1, 2)).transpose(1, 2).relu() * mask.unsqueeze(-1)
        normed = self.norm(local)
        attended = local + self.dropout(self.attention(normed, normed, masked_bias(mask)))
        states = run_recurrent(self.recurrent, attended, mask)
        maximum = torch.where(mask.unsqueeze(-1) > 0, states, -1.0).amax(1)
        penultimate = torch.cat([masked_mean(states, mask), maximum], dim=-1)
        features = {"h1": lengthened(local, padding), "h2": lengthened(states, padding)}
        return finished(self.head, penultimate, features, inputs["ids_mask"])

    def tf_idf(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return [B, T]: how often a piece stands in its text times its rarity, scaled to mean 1 over the text."""
        same = (ids.unsqueeze(2) == ids.unsqueeze(1)).float() * mask.unsqueeze(1)
        weight = same.sum(-1) * self.idf[ids] * mask
        scaled: Tensor = weight / (weight.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)).clamp_min(1e-6)
        return scaled


def inverse_document_frequency(ids: Tensor, mask: Tensor, vocabulary: int) -> Tensor:
    """Return log((1 + N) / (1 + n_v)) + 1 [V], where n_v of the N texts ids [N, T] hold the piece v."""
    holds = torch.zeros(vocabulary)
    for row, there in zip(ids, mask, strict=True):
        holds[torch.unique(row[there > 0].long())] += 1
    return ((1 + len(ids)) / (1 + holds)).log() + 1
