"""Zagoruyko & Komodakis, *Paying More Attention to Attention* (attention transfer), ICLR 2017.

    L = || Q_s / |Q_s|_2  -  Q_t / |Q_t|_2 ||^2,   Q = sum_c |A_c|^p

A_c: channel c of a layer, over the cells of a map, or here also over the steps of a sequence; Q: its energy at
every position; p = 2.

The text writes the norm unsquared; the authors' code squares it and averages over positions, with a weight of 1000.
So does this, over the positions that are there. Channels may be summed or averaged: the normalisation takes it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, layer_terms, masked_mean
from training.distillation.methods.numerics import unit
from training.distillation.outputs import Batch, Output


def attention(student: Tensor, teacher: Tensor, mask: Tensor, power: float = 2.0) -> Tensor:
    """Return the loss [B] of features [B, N, D] (widths may differ), 0 where masked, with mask [B, N]."""
    difference = unit(energy(student, power)) - unit(energy(teacher, power))
    return masked_mean(difference.square(), mask)


def energy(feature: Tensor, power: float) -> Tensor:
    """Mean over channels of |A|^power: [B, N, D] to [B, N]."""
    return (feature.square() if power == 2 else feature.abs().pow(power)).mean(-1)


@dataclass(frozen=True)
class AttentionConfig:
    """Hyper-parameters of `attention`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    power: float = 2.0
    """p: the larger, the more the strongest positions count; at least 1."""
    weight: float = 1000.0
    """Factor of the term, the authors'."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.number(self, "power", least=1)
        checks.number(self, "weight", least=0)


class Attention(Method):
    """Matches where, over the steps of a sequence or the cells of a map, a layer is active."""

    name = "attention"
    family = "B"
    paper = "Zagoruyko & Komodakis, Paying More Attention to Attention (attention transfer), ICLR, 2017"
    equation = "mean over positions of (Q_s / |Q_s| - Q_t / |Q_t|)^2, Q = sum_c |A_c|^p"
    needs = frozenset({"features"})
    Config = AttentionConfig
    config: AttentionConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `attention/teacher` for every teacher."""
        return layer_terms("attention", self.config.layers, student, teachers, self._term)

    def _term(self, pair: Pair) -> Tensor:
        pair.require_positions("attention")
        return self.config.weight * attention(*pair.grids(), self.config.power)
