"""After Huang, You, Wang, Qian & Xu, *DIST+: Knowledge Distillation From a Stronger Adaptive Teacher*, TPAMI 47(7),
2025 (the abstract; its text was not at hand): DIST's correlations between features in the place of answers.

    L = beta / B sum_i d(r(h_s)[i, :], h_t[i, :]) + gamma / D sum_j d(r(h_s)[:, j], h_t[:, j]),   d = 1 - Pearson

h_s, h_t: features of student and teacher, a sequence or map as its mean; r: a learned linear map to the teacher's D
channels; B: samples of the batch. Correlations leave the student free in the shift and the scale of each. The second
part is split evenly over the samples, as in `dist`, which has the answers' side of it; combine the two.

The paper's other half, a teacher that is acclimated to its student, is a training step: see `meta_teacher`. No code of
DIST+ was at hand; DIST's adds 1e-8 to the product of the norms, which is not done here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted, regressor
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, layer_terms
from training.distillation.methods.numerics import pearson
from training.distillation.outputs import Batch, Output


def correlations_apart(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 - Pearson over the channels of each sample, and over the samples of each channel evenly, each [B]."""
    over_channels = 1 - pearson(student, teacher)
    over_samples = (1 - pearson(student.T, teacher.T)).mean()
    return over_channels, over_samples.expand(len(student))


@dataclass(frozen=True)
class DISTPlusConfig:
    """Hyper-parameters of `dist_plus`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    beta: float = 1.0
    """Weight of the relation between channels."""
    gamma: float = 1.0
    """Weight of the relation between samples."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.number(self, "beta", least=0)
        checks.number(self, "gamma", least=0)


class DISTPlus(Adapted):
    """Matches how features vary, over channels and over samples, and not how large they are."""

    name = "dist_plus"
    family = "B"
    paper = "after Huang et al., DIST+: Knowledge Distillation From a Stronger Adaptive Teacher, TPAMI, 2025"
    equation = "beta (1 - pearson(r(h_s)[i,:], h_t[i,:])) + gamma mean_j (1 - pearson(r(h_s)[:,j], h_t[:,j]))"
    needs = frozenset({"features"})
    scaled = ("beta", "gamma")
    Config = DISTPlusConfig
    config: DISTPlusConfig

    def make(self, pair: Pair) -> nn.Linear:
        """Create the regressor."""
        return regressor(*pair.widths)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `dist_plus/teacher` for every teacher."""
        return layer_terms("dist_plus", self.layers, student, teachers, self._term)

    def _term(self, pair: Pair) -> Tensor:
        h_s, h_t = pair.vectors()
        parts = correlations_apart(self.adapter(pair)(h_s), h_t)
        return torch.stack([self.config.beta * parts[0], self.config.gamma * parts[1]]).sum(0)
