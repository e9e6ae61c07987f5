"""Passalis & Tefas, *Learning Deep Representations with Probabilistic Knowledge Transfer*, ECCV 2018.

    L = sum_i sum_{j != i} p_t(j|i) log(p_t(j|i) / p_s(j|i)),   p(j|i) = K(x_i, x_j) / sum_{k != i} K(x_i, x_k),
    K(a, b) = (cos(a, b) + 1) / 2

x_i: representation of sample i by student or teacher. The probability that i would choose j as its neighbour.

The authors' code lets a sample choose itself; the text, and this, does not. The code averages over all B^2 pairs
where the text sums, and so does this: its weight of 30000 belongs to that. Row i gives its divergence divided by B.
A batch of two has nothing to choose between.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, Pooling, layer_terms
from training.distillation.methods.numerics import kl, off_diagonal, unit
from training.distillation.outputs import Batch, Output

LEAST_KERNEL = 1e-7
"""Added to the kernel, which is 0 for opposite vectors; the authors' value."""


def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the loss [B] of vectors [B, D] (widths may differ)."""
    # The softmax of log K is K divided by its sum.
    return kl(_log_kernel(teacher), _log_kernel(student)) / len(student)


def _log_kernel(x: Tensor) -> Tensor:
    """[B, B - 1]: log K of every sample with all others."""
    direction = unit(x)
    cosine = (direction @ direction.T).clamp(-1, 1)
    return ((off_diagonal(cosine) + 1) / 2 + LEAST_KERNEL).log()


@dataclass(frozen=True)
class PKTConfig:
    """Hyper-parameters of `pkt`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    weight: float = 30000.0
    """Factor of the term, RepDistiller's."""
    pooling: Pooling = "mean"
    """How sequences and maps become vectors: their `mean`, or `flatten`."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.number(self, "weight", least=0)
        checks.choice(self, "pooling", ("mean", "flatten"))


class PKT(Method):
    """Matches the probability that a sample would choose another as its neighbour."""

    name = "pkt"
    family = "C"
    paper = "Passalis & Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV, 2018"
    equation = "1 / B^2 sum_i sum_{j != i} p_t(j|i) log(p_t(j|i) / p_s(j|i)), p(j|i) ~ (cos(x_i, x_j) + 1) / 2"
    needs = frozenset({"features"})
    Config = PKTConfig
    config: PKTConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `pkt/teacher` for every teacher."""
        return layer_terms("pkt", self.config.layers, student, teachers, self._term)

    def _term(self, pair: Pair) -> Tensor:
        return self.config.weight * pkt(*pair.vectors(self.config.pooling))
