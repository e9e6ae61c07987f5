"""What surrounds a head (training/models/answer.py): means over steps, and scores of teachers that only classify."""

from torch import Tensor

from training.distillation.outputs import Output
from training.models.answer import expected_score


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
