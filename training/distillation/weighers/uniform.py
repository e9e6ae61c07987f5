"""Every teacher counts the same: the ensemble that every other weigher has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.outputs import Batch, Output
from training.distillation.weighers.base import Weigher
from training.distillation.weighers.reading import rows


@dataclass(frozen=True)
class UniformConfig:
    """Nothing to choose."""


class Uniform(Weigher):
    """w_k = 1 / K."""

    name = "uniform"
    paper = "You, Xu, Xu, Tao: Learning from Multiple Teacher Networks, KDD 2017"
    equation = "w_k = 1 / K"
    needs = frozenset[str]()
    Config = UniformConfig

    def weigh(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Tensor:
        """Return 1 / K as [B, K]."""
        like = rows(self.name, student, teachers)
        return like.new_full((len(like), len(teachers)), 1 / len(teachers))
