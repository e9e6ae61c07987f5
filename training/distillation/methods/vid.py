"""Ahn, Hu, Damianou, Lawrence & Dai, *Variational Information Distillation for Knowledge Transfer*, CVPR 2019.

    L = sum over channels c and positions of  log sigma_c + (t_c - mu_c(s))^2 / (2 sigma_c^2),
    sigma_c^2 = log(1 + exp(alpha_c)) + epsilon

s, t: features of student and teacher; mu: a learned regressor; alpha_c: a learned number per channel. L bounds the
mutual information of the two layers from below, up to the teacher's entropy: where the student can't know a
channel, sigma_c grows and the channel counts less. It has no floor at zero.

As the authors' code, this takes the mean over channels and positions, and for mu three linear maps with ReLU
between them (the text leaves it open). sigma_c^2 starts at 5, epsilon is 1e-5.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, Where, layer_terms, masked_mean
from training.distillation.outputs import Batch, Output


def vid(mean: Tensor, variance: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return the loss [B] of predictions [B, N, D] with variance [D], for features [B, N, D] with mask [B, N]."""
    return masked_mean(((teacher - mean).square() / variance + variance.log()).mean(-1) / 2, mask)


class Predictor(nn.Module):
    """The gaussian q(t | s): a regressor for its mean, and a variance per channel."""

    def __init__(self, ours: int, theirs: int, hidden: int, initial: float, least: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Linear(ours, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, theirs)
        )
        # The inverse of softplus, so that the variance starts at `initial`.
        alpha = torch.tensor(initial - least, dtype=torch.float64).expm1().log()
        self.alpha = nn.Parameter(torch.full((theirs,), float(alpha)))
        self.least = least

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean [B, N, D_t] and variance [D_t] for [B, N, D_s]."""
        return self.mean(feature), functional.softplus(self.alpha) + self.least


@dataclass(frozen=True)
class VIDConfig:
    """Hyper-parameters of `vid`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: `layer`."""
    layer: Where = "middle"
    """Which layer of either side is paired where none are named: the `middle` one, as published, or the `last`."""
    hidden: int = 0
    """Width inside the regressor; 0: the teacher's."""
    initial_variance: float = 5.0
    """sigma_c^2 at the start."""
    least_variance: float = 1e-5
    """epsilon: sigma_c^2 is never below it."""
    weight: float = 1.0
    """Factor of the term, RepDistiller's."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.choice(self, "layer", ("middle", "last"))
        checks.count(self, "hidden", least=0)
        checks.number(self, "least_variance", above=0)
        checks.number(self, "initial_variance", above=self.least_variance)
        checks.number(self, "weight", least=0)


class VID(Adapted):
    """Predicts the teacher's features with a variance per channel, and so keeps the information that can be had."""

    name = "vid"
    family = "B"
    paper = "Ahn, Hu, Damianou, Lawrence & Dai, Variational Information Distillation for Knowledge Transfer, CVPR, 2019"
    equation = "mean over positions and channels of log sigma_c + (h_t - mu(h_s))^2 / (2 sigma_c^2)"
    needs = frozenset({"features"})
    Config = VIDConfig
    config: VIDConfig

    def make(self, pair: Pair) -> Predictor:
        """Create the predictor."""
        ours, theirs = pair.widths
        config = self.config
        return Predictor(ours, theirs, config.hidden or theirs, config.initial_variance, config.least_variance)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `vid/teacher` for every teacher."""
        return layer_terms("vid", self.layers, student, teachers, self._term, where=self.where)

    def _term(self, pair: Pair) -> Tensor:
        h_s, h_t, mask = pair.grids()
        mean, variance = self.adapter(pair)(h_s)
        return self.config.weight * vid(mean, variance, h_t, mask)
