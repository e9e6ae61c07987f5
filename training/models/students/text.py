"""Students that read: word pieces of the repository's tokenizer -> one output, with a state for every piece."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Inputs, Output
from training.models.answer import Head, masked_mean
from training.models.attention import masked_bias
from training.models.served.text import VOCABULARY, EncoderLayer


class TransformerStudent(nn.Module):
    """A transformer of two layers. Features: `h1`, `h2` after the layers [B, T, width], `penultimate` their mean."""

    def __init__(
        self, tokens: int, values: Sequence[float], width: int = 128, layers: int = 2, dropout: float = 0.3
    ) -> None:
        """Make a student for texts of at most `tokens` pieces."""
        super().__init__()
        self.pieces = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.02)
        nn.init.normal_(self.pieces.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = Head(width, values, dropout)

    def forward(self, inputs: Inputs) -> Output:
        """Read `ids` [B, T] and `ids_mask` [B, T]; computes only as far as the longest text of the batch."""
        ids, mask, padding = shortened(inputs)
        x = self.dropout(self.pieces(ids) + self.positions[: ids.shape[1]])
        bias = masked_bias(mask)
        features: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, bias)
            features[f"h{number}"] = lengthened(x, padding)
        penultimate = masked_mean(self.norm(x), mask)
        return finished(self.head, penultimate, features, inputs["ids_mask"])


class LstmStudent(nn.Module):
    """A bidirectional LSTM. Features: `h1` embeddings, `h2` states, `penultimate` mean and maximum of the states."""

    def __init__(
        self, values: Sequence[float], width: int = 128, dropout: float = 0.4, pieces: Tensor | None = None
    ) -> None:
        """Make a student whose embeddings start at `pieces` [VOCABULARY, width], or at random."""
        super().__init__()
        self.pieces = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.pieces.weight, std=0.1)
        if pieces is not None:
            self.pieces.weight.data.copy_(pieces)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.head = Head(2 * width, values, dropout)

    def forward(self, inputs: Inputs) -> Output:
        """Read `ids` [B, T] and `ids_mask` [B, T]; computes only as far as the longest text of the batch."""
        ids, mask, padding = shortened(inputs)
        embedded = self.dropout(self.pieces(ids))
        states = run_recurrent(self.recurrent, embedded, mask)
        maximum = torch.where(mask.unsqueeze(-1) > 0, states, -1.0).amax(1)
        penultimate = torch.cat([masked_mean(states, mask), maximum], dim=-1)
        features = {"h1": lengthened(embedded, padding), "h2": lengthened(states, padding)}
        return finished(self.head, penultimate, features, inputs["ids_mask"])


def shortened(inputs: Inputs) -> tuple[Tensor, Tensor, int]:
    """Return ids int64 and mask float, cut to the longest text of the batch, and how many pieces were cut off."""
    lengths = inputs["ids_mask"].sum(1)
    longest = max(1, int(lengths.max()))
    total = inputs["ids"].shape[1]
    return inputs["ids"][:, :longest].long(), inputs["ids_mask"][:, :longest].float(), total - longest


def lengthened(states: Tensor, padding: int) -> Tensor:
    """Put zeros for the pieces that were cut off, so that positions mean the same in every batch."""
    return nn.functional.pad(states, (0, 0, 0, padding))


def finished(head: Head, penultimate: Tensor, features: dict[str, Tensor], mask: Tensor) -> Output:
    """Return the output of a text student."""
    logits, score = head(penultimate)
    masks = {name: mask.float() for name in features}
    return Output(logits, score, features=features | {"penultimate": penultimate}, masks=masks)


def run_recurrent(net: nn.LSTM, x: Tensor, mask: Tensor) -> Tensor:
    """Run over the pieces that are there; states of the others are zero."""
    lengths = mask.sum(1).clamp_min(1).long().cpu()
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    states, _ = nn.utils.rnn.pad_packed_sequence(net(packed)[0], batch_first=True, total_length=x.shape[1])
    return states * mask.unsqueeze(-1)
