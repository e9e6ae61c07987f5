"""Peng, Jin, Liu, Zhou, Wu, Liu, Li & Zhang, *Correlation Congruence for Knowledge Distillation*, ICCV 2019.

    L = || C_t - C_s ||^2 / B^2,   C_ij = exp(-2 gamma) sum_{p=0..P} (2 gamma)^p / p! (x_i . x_j)^p

x_i: representation of sample i, divided by its norm; C: the gaussian kernel exp(-gamma |x_i - x_j|^2), its
dependence on x_i . x_j expanded to the order P by Taylor.

RepDistiller's `CC`, which the authors sent by mail, is another thing: the products of |s - t| of neighbours in the
batch, through a learned embedding. This follows the text, with its gamma = 0.4 and P = 2. Split by anchor row.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, Pooling, layer_terms
from training.distillation.methods.numerics import unit
from training.distillation.outputs import Batch, Output


def cc(student: Tensor, teacher: Tensor, gamma: float, order: int) -> Tensor:
    """Return the loss [B] of vectors [B, D] (widths may differ)."""
    return (correlation(teacher, gamma, order) - correlation(student, gamma, order)).square().mean(1)


def correlation(x: Tensor, gamma: float, order: int) -> Tensor:
    """Return the expanded kernel [B, B] of vectors [B, D]."""
    direction = unit(x)
    cosine = direction @ direction.T
    total = torch.zeros_like(cosine)
    for power in range(order, -1, -1):  # Horner's scheme
        total = total * cosine + (2 * gamma) ** power / math.factorial(power)
    return math.exp(-2 * gamma) * total


@dataclass(frozen=True)
class CCConfig:
    """Hyper-parameters of `cc`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    gamma: float = 0.4
    """Sharpness of the gaussian kernel."""
    order: int = 2
    """P: where the kernel's series ends."""
    weight: float = 100.0
    """Factor of the term. Ours: the published one belongs to another formula (see the module)."""
    pooling: Pooling = "mean"
    """How sequences and maps become vectors: their `mean`, or `flatten`."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.number(self, "gamma", above=0)
        checks.count(self, "order")
        checks.number(self, "weight", least=0)
        checks.choice(self, "pooling", ("mean", "flatten"))


class CC(Method):
    """Matches how samples of the batch correlate, under a gaussian kernel."""

    name = "cc"
    family = "C"
    paper = "Peng, Jin, Liu, Zhou, Wu, Liu, Li & Zhang, Correlation Congruence for Knowledge Distillation, ICCV, 2019"
    equation = "|C_t - C_s|^2 / B^2, C_ij = exp(-2 gamma) sum_p (2 gamma)^p / p! (x_i . x_j)^p, x of norm 1"
    needs = frozenset({"features"})
    Config = CCConfig
    config: CCConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `cc/teacher` for every teacher."""
        return layer_terms("cc", self.config.layers, student, teachers, self._term)

    def _term(self, pair: Pair) -> Tensor:
        h_s, h_t = pair.vectors(self.config.pooling)
        return self.config.weight * cc(h_s, h_t, self.config.gamma, self.config.order)
