"""What students and multimodal teachers end with: logits, and the sentiment that they stand for."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Output


class Head(nn.Module):
    """Penultimate [B, D] -> logits [B, C] and score [B].

    The score is the mean of the classes' sentiments under the predicted distribution, so that ordinal bins, classes and
    the continuous score are one output, and no parameter lies idle when a run trains only one of them.
    """

    values: Tensor

    def __init__(self, width: int, values: Sequence[float], dropout: float = 0.0) -> None:
        """Make a head for classes whose sentiments are `values`, each in [-1, 1]."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, len(values))
        self.register_buffer("values", torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, penultimate: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and score."""
        logits: Tensor = self.linear(self.dropout(penultimate))
        return logits, expected_score(logits, self.values)[0]


class ScoredHead(Head):
    """A head whose score is a regression of its own, for labels that say more than the classes do.

    Two classes and a degree, say: one number can't be sure of the class and unsure of the degree.
    """

    def __init__(self, width: int, values: Sequence[float], dropout: float = 0.0) -> None:
        """Make a head for so many classes as there are `values`."""
        super().__init__(width, values, dropout)
        self.score = nn.Linear(width, 1)

    def forward(self, penultimate: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and score, in [-1, 1]."""
        dropped = self.dropout(penultimate)
        return self.linear(dropped), torch.tanh(self.score(dropped)).squeeze(-1)


def expected_score(logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance [B] of the sentiment under softmax of logits [B, C], with the classes' `values` [C]."""
    probabilities = logits.float().softmax(-1)
    mean = probabilities @ values
    return mean, (probabilities @ values.square() - mean.square()).clamp_min(0.0)


def with_score(output: Output, values: Tensor) -> Output:
    """Give an output that only classifies the score and the variance of its logits; changes it in place.

    A score whose variance is not known is one of these, without it (see `Head`).
    """
    if output.logits is not None and output.variance is None:
        output.score, output.variance = expected_score(output.logits, values)
    return output


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the steps of [B, T, D] that are there, mask [B, T]; 0 where none is."""
    weights = mask.to(x.dtype).unsqueeze(-1)
    return (x * weights).sum(1) / weights.sum(1).clamp_min(1.0)
