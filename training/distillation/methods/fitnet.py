"""Romero, Ballas, Kahou, Chassang, Gatta & Bengio, *FitNets: Hints for Thin Deep Nets*, ICLR 2015.

    L = 1/2 || u_h(x) - r(v_g(x)) ||^2

u_h: the teacher's hint layer; v_g: the student's guided layer; r: a learned regressor, linear at each position (the
1 x 1 convolution of later code).

Here, as in RepDistiller and mdistiller, the square is averaged over positions and channels without the 1/2 (the
weight 100 of their tables belongs to that), and the term is added to the loss from the start, where the paper
trains on the hint alone first. A regressor between equal widths starts as the identity, so that equal features
start at zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted, regressor
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, Where, layer_terms, masked_mean
from training.distillation.outputs import Batch, Output


def fitnet(adapted: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return the squared distance [B] of [B, N, D]: the mean over channels, and over the positions of mask [B, N]."""
    return masked_mean((adapted - teacher).square().mean(-1), mask)


@dataclass(frozen=True)
class FitNetConfig:
    """Hyper-parameters of `fitnet`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: `layer`."""
    layer: Where = "middle"
    """Which layer of either side is paired where none are named: the `middle` one, as published, or the `last`."""
    weight: float = 100.0
    """Factor of the term, RepDistiller's."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.choice(self, "layer", ("middle", "last"))
        checks.number(self, "weight", least=0)


class FitNet(Adapted):
    """Regresses the teacher's features from the student's."""

    name = "fitnet"
    family = "B"
    paper = "Romero, Ballas, Kahou, Chassang, Gatta & Bengio, FitNets: Hints for Thin Deep Nets, ICLR, 2015"
    equation = "mean over positions and channels of (r(h_s) - h_t)^2, r linear"
    needs = frozenset({"features"})
    Config = FitNetConfig
    config: FitNetConfig

    def make(self, pair: Pair) -> nn.Linear:
        """Create the regressor."""
        return regressor(*pair.widths)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `fitnet/teacher` for every teacher."""
        return layer_terms("fitnet", self.layers, student, teachers, self._term, where=self.where)

    def _term(self, pair: Pair) -> Tensor:
        h_s, h_t, mask = pair.grids()
        return self.config.weight * fitnet(self.adapter(pair)(h_s), h_t, mask)
