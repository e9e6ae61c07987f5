"""Tung & Mori, *Similarity-Preserving Knowledge Distillation*, ICCV 2019.

    L = || G_t - G_s ||_F^2 / B^2,   G = Q Q' with every row divided by its norm

Q: features of the batch, flattened, [B, D]. The authors verified RepDistiller's code, which agrees with the text.
Split by anchor row: row i gives sum_j (G_t - G_s)_ij^2 / B.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, Pooling, layer_terms
from training.distillation.methods.numerics import unit
from training.distillation.outputs import Batch, Output


def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the loss [B] of vectors [B, D] (widths may differ)."""
    return (_similarity(teacher) - _similarity(student)).square().mean(1)


def _similarity(x: Tensor) -> Tensor:
    return unit(x @ x.T)


@dataclass(frozen=True)
class SPConfig:
    """Hyper-parameters of `sp`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    weight: float = 3000.0
    """Factor of the term, the authors'."""
    pooling: Pooling = "flatten"
    """How sequences and maps become vectors: `flatten` as published, or their `mean`."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.number(self, "weight", least=0)
        checks.choice(self, "pooling", ("mean", "flatten"))


class SP(Method):
    """Matches which samples of the batch look alike."""

    name = "sp"
    family = "C"
    paper = "Tung & Mori, Similarity-Preserving Knowledge Distillation, ICCV, 2019"
    equation = "|G_t - G_s|_F^2 / B^2, G = rows of Q Q' divided by their norms"
    needs = frozenset({"features"})
    Config = SPConfig
    config: SPConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `sp/teacher` for every teacher."""
        return layer_terms("sp", self.config.layers, student, teachers, self._term)

    def _term(self, pair: Pair) -> Tensor:
        return self.config.weight * sp(*pair.vectors(self.config.pooling))
