"""Park, Kim, Lu & Cho, *Relational Knowledge Distillation*, CVPR 2019.

    distance:  sum_ij  huber(|s_i - s_j| / mu_s, |t_i - t_j| / mu_t),   mu: the mean over all pairs
    angle:     sum_ijk huber(cos(s_i s_j s_k), cos(t_i t_j t_k)),       the angle at the vertex j

s_i, t_i: representations of sample i by student and teacher; huber: half the square up to a difference of 1, linear
beyond.

The text sums over pairs and triples of different samples; the authors' code averages over all B^2 and B^3, those
with repeated samples included, and so does this: its weights of 25 and 50 belong to that. Split by anchor row: i
for distances, the vertex for angles. Memory grows with B^2 D and B^3, and with nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, Pooling, layer_terms
from training.distillation.methods.numerics import length, unit
from training.distillation.outputs import Batch, Output


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the distance part [B] of vectors [B, D] (widths may differ)."""
    return functional.smooth_l1_loss(_distances(student), _distances(teacher), reduction="none").mean(1)


def angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the angle part [B] of vectors [B, D] (widths may differ)."""
    return functional.smooth_l1_loss(_angles(student), _angles(teacher), reduction="none").mean((1, 2))


def _differences(x: Tensor) -> Tensor:
    """[B, B, D]: from sample i to sample j. Differences, not a Gram matrix, which cancels for near samples."""
    return x.unsqueeze(0) - x.unsqueeze(1)


def _distances(x: Tensor) -> Tensor:
    """[B, B], with a mean of 1 over the pairs that differ."""
    distances = length(_differences(x))
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _angles(x: Tensor) -> Tensor:
    """[B, B, B]: cosine of the angle at the first sample between the other two; 0 where two are the same."""
    directions = unit(_differences(x))
    return directions @ directions.transpose(1, 2)


@dataclass(frozen=True)
class RKDConfig:
    """Hyper-parameters of `rkd`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    distance_weight: float = 25.0
    """Factor of the distances, RepDistiller's."""
    angle_weight: float = 50.0
    """Factor of the angles, RepDistiller's."""
    pooling: Pooling = "mean"
    """How sequences and maps become vectors: their `mean`, or `flatten`."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.number(self, "distance_weight", least=0)
        checks.number(self, "angle_weight", least=0)
        checks.choice(self, "pooling", ("mean", "flatten"))


class RKD(Method):
    """Matches the shape of the batch: distances of pairs and angles of triples."""

    name = "rkd"
    family = "C"
    paper = "Park, Kim, Lu & Cho, Relational Knowledge Distillation, CVPR, 2019"
    equation = (
        "mean_ij huber(|s_i - s_j| / mu_s, |t_i - t_j| / mu_t) and mean_ijk huber(cos s_i s_j s_k, cos t_i t_j t_k)"
    )
    needs = frozenset({"features"})
    scaled = ("distance_weight", "angle_weight")
    Config = RKDConfig
    config: RKDConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `rkd_distance/teacher` and `rkd_angle/teacher` for every teacher, without those of weight 0."""
        layers, terms = self.config.layers, Terms()
        if self.config.distance_weight:
            terms |= layer_terms("rkd", layers, student, teachers, self._distance, "distance")
        if self.config.angle_weight:
            terms |= layer_terms("rkd", layers, student, teachers, self._angle, "angle")
        return terms

    def _distance(self, pair: Pair) -> Tensor:
        return self.config.distance_weight * distance(*pair.vectors(self.config.pooling))

    def _angle(self, pair: Pair) -> Tensor:
        return self.config.angle_weight * angle(*pair.vectors(self.config.pooling))
