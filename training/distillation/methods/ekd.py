"""Huang, Feng, Fu, Hsu, Yen, Tseng, Chang & Lee, *Ensemble Knowledge Distillation of Self-Supervised Speech Models*,
ICASSP 2023.

    L = sum over layers of  mean_t [ 1/D || p(h_s)_t - h_t ||_1 - lambda log sigmoid(cos(p(h_s)_t, h_t)) ]

h_s: student feature; p: prediction head, linear at each step; h_t: the target at step t, D wide; lambda: the weight of
the direction. The target is, for every layer,

- `average`: the mean over the teachers, which need one width; one head. The paper finds it better than concatenating
  them.
- `per_teacher`: each teacher in turn, with a head of its own, so that a weigher can tell them apart and widths may
  differ.

The loss is DistilHuBERT's (Chang, Yang & Lee, ICASSP 2022). Its least value is not 0 but lambda log(1 + 1/e) = .313
lambda a layer, at equal features. Its code takes the mean over layers, its text the sum; here the sum, as in all
feature methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, layer_terms, masked_mean, pairs_of
from training.distillation.methods.numerics import unit
from training.distillation.outputs import Batch, Output


def ekd(predicted: Tensor, target: Tensor, mask: Tensor, direction: float) -> Tensor:
    """Return the loss [B] of features [B, N, D] over the positions that mask [B, N] keeps; `direction` is lambda."""
    distance = (predicted - target).abs().mean(-1)
    cosine = (unit(predicted) * unit(target)).sum(-1)
    return masked_mean(distance - direction * functional.logsigmoid(cosine), mask)


def average(teachers: Mapping[str, list[Pair]]) -> Output:
    """Return the layer-wise mean of the teachers as the outputs of one, its layers called "0", "1", ...

    A step is there when every teacher has it.

    Raises:
        ValueError: the teachers differ in the number or the shape of their layers.
    """
    counts = {name: len(pairs) for name, pairs in teachers.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"ekd: an average needs as many layers from each teacher, got {counts}; name the layers")
    mean = Output()
    for i, pairs in enumerate(zip(*teachers.values(), strict=True)):
        features = [pair.features[1] for pair in pairs]
        shapes = {pair.teacher: tuple(pair.features[1].shape) for pair in pairs}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"ekd: an average needs one shape from all teachers, got {shapes}; set mode to 'per_teacher'"
            )
        masks = [pair.masks[1] for pair in pairs if pair.masks[1] is not None]
        if masks:
            there = torch.stack(masks).amin(0)
            features = [torch.where(there.unsqueeze(-1) > 0, feature, 0.0) for feature in features]
            mean.masks[str(i)] = there
        mean.features[str(i)] = torch.stack(features).mean(0)
    return mean


@dataclass(frozen=True)
class EKDConfig:
    """Hyper-parameters of `ekd`."""

    mode: Literal["average", "per_teacher"] = "per_teacher"
    """Whether the student predicts the average of the teachers, or each of them."""
    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    direction: float = 1.0
    """lambda, factor of the cosine's part."""
    weight: float = 1.0
    """Factor of the term."""

    def __post_init__(self) -> None:
        checks.choice(self, "mode", ("average", "per_teacher"))
        checks.layers(self)
        checks.number(self, "direction", least=0)
        checks.number(self, "weight", least=0)


class EKD(Adapted):
    """Predicts the features of several teachers, averaged or one by one, in size and direction."""

    name = "ekd"
    family = "D"
    paper = (
        "Huang, Feng, Fu, Hsu, Yen, Tseng, Chang & Lee, "
        "Ensemble Knowledge Distillation of Self-Supervised Speech Models, ICASSP, 2023"
    )
    equation = "1/D |p(h_s) - h_t|_1 - lambda log sigmoid(cos(p(h_s), h_t)), h_t the mean of teachers or each teacher"
    needs = frozenset({"features"})
    Config = EKDConfig
    config: EKDConfig

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        self._layers = self.config.layers

    @property
    def layers(self) -> Layers:
        """Pairs (student layer, teacher layer)."""
        return self._layers

    def make(self, pair: Pair) -> nn.Linear:
        """Create the prediction head."""
        return nn.Linear(*pair.widths)

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create the heads; raises ValueError for a missing layer, or for teachers that have no average."""
        self._layers, targets = self._targets(student, teachers)
        super().build(student, targets)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `ekd/teacher` for every teacher, or `ekd` for their average."""
        layers, targets = self._targets(student, teachers)
        terms = layer_terms("ekd", layers, student, targets, self._term)
        return terms if self.config.mode == "per_teacher" else {"ekd": terms["ekd/average"]}

    def _targets(self, student: Output, teachers: Mapping[str, Output]) -> tuple[Layers, Mapping[str, Output]]:
        """Who is predicted from which layers: the teachers themselves, or one that is their average."""
        if self.config.mode == "per_teacher":
            return self.config.layers, teachers
        pairs = pairs_of(self.name, self.config.layers, student, teachers)
        ours = [pair.layers[0] for pair in next(iter(pairs.values()))]
        return tuple((layer, str(i)) for i, layer in enumerate(ours)), {"average": average(pairs)}

    def _term(self, pair: Pair) -> Tensor:
        h_s, h_t, mask = pair.grids()
        return self.config.weight * ekd(self.adapter(pair)(h_s), h_t, mask, self.config.direction)
