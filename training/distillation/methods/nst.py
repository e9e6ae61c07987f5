"""Huang & Wang, *Like What You Like: Knowledge Distill via Neuron Selectivity Transfer*, arXiv 1707.01219, 2017.

    L = mean_ij k(t_i, t_j) + mean_ij k(s_i, s_j) - 2 mean_ij k(t_i, s_j),   k(x, y) = (x . y)^2

s_i, t_i: a channel's activations over all positions, divided by their norm; k: the polynomial kernel of degree 2
without a constant, the paper's best. The loss is the squared maximum mean discrepancy between the channels of both
sides.

As (x . y)^2 = <x x', y y'>, it is the squared distance between the mean outer products, N x N for N positions.
RepDistiller builds all [B, C_t, C_s, N] products instead, which needs a thousand times the memory for 768 channels;
the value is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, layer_terms
from training.distillation.methods.numerics import unit
from training.distillation.outputs import Batch, Output


def nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the loss [B] of features [B, N, D] (widths may differ), 0 where masked."""
    return (_mean_outer(student) - _mean_outer(teacher)).square().sum((1, 2))


def _mean_outer(feature: Tensor) -> Tensor:
    """Mean over channels of x x', x a channel's activations over the positions, divided by their norm: [B, N, N]."""
    channels = unit(feature, dim=1)
    return channels @ channels.transpose(1, 2) / feature.shape[2]


@dataclass(frozen=True)
class NSTConfig:
    """Hyper-parameters of `nst`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    weight: float = 50.0
    """Factor of the term, the authors'."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.number(self, "weight", least=0)


class NST(Method):
    """Matches the distribution of the channels' selectivity patterns."""

    name = "nst"
    family = "B"
    paper = (
        "Huang & Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, arXiv 1707.01219, 2017"
    )
    equation = "mean k(t_i, t_j) + mean k(s_i, s_j) - 2 mean k(t_i, s_j), k(x, y) = (x . y)^2 over unit channels"
    needs = frozenset({"features"})
    Config = NSTConfig
    config: NSTConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `nst/teacher` for every teacher."""
        return layer_terms("nst", self.config.layers, student, teachers, self._term)

    def _term(self, pair: Pair) -> Tensor:
        pair.require_positions("nst")
        h_s, h_t, _ = pair.grids()
        return self.config.weight * nst(h_s, h_t)
