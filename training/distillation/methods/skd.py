"""Guo, Chen, Hu, Zhu, He & Cai, *Reducing the Teacher-Student Gap via Spherical Knowledge Distillation*, arXiv
2010.07485, 2020.

    L = T^2 KL(softmax(m n(z_t) / T) || softmax(m n(z_s) / T)),    n(z) = (z - mean z) / std z, over the classes

z_s, z_t: logits of student and teacher; m: what the normalised logits are scaled to, the teacher's std z, in the mean
over the batch, so that both are as sure as teachers of its kind are, and no surer on one sample than on another. A
larger teacher is surer than a small student can be; that gap is taken out.

Beside `logit_std`, whose normalised logits have deviation 1: here they keep the teacher's scale, and T is one for
logits as usual. The PaddleClas copy of the authors' code fixes m = 2 and adds the cross entropy with the teacher's
class; m is what the text says here, or a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.kd import kd
from training.distillation.methods.logit_std import standardize
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def skd(student: Tensor, teacher: Tensor, temperature: float, multiplier: float = 0.0) -> Tensor:
    """Return the loss [B] of logits [B, C]; a multiplier of 0 stands for the teacher's mean deviation.

    Raises:
        ValueError: there are fewer than three classes.
    """
    if student.shape[1] < 3:
        raise ValueError(
            f"skd: needs three classes or more, there are {student.shape[1]}; of two only the order is left"
        )
    scale = multiplier or teacher.std(1, correction=0).mean()
    return kd(scale * standardize(student), scale * standardize(teacher), temperature)


@dataclass(frozen=True)
class SKDConfig:
    """Hyper-parameters of `skd`."""

    temperature: float = 4.0
    """T: above 1, the wrong classes' likeness counts more."""
    multiplier: float = 0.0
    """m; 0: the mean deviation of the teacher's logits in the batch."""
    weight: float = 1.0
    """Factor of the term."""

    def __post_init__(self) -> None:
        checks.number(self, "temperature", above=0)
        checks.number(self, "multiplier", least=0)
        checks.number(self, "weight", least=0)


class SKD(Method):
    """KD on a sphere: logits of student and teacher have one length, the teacher's mean."""

    name = "skd"
    family = "A"
    paper = "Guo et al., Reducing the Teacher-Student Gap via Spherical Knowledge Distillation, arXiv, 2020"
    equation = "T^2 KL(softmax(m n(z_t) / T) || softmax(m n(z_s) / T)), n(z) = (z - mean z) / std z, m = mean std z_t"
    needs = frozenset({"logits"})
    Config = SKDConfig
    config: SKDConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `skd/teacher` for every teacher."""
        return {
            f"skd/{name}": self.config.weight * skd(z_s, z_t, self.config.temperature, self.config.multiplier)
            for name, z_s, z_t in logit_pairs("skd", student, teachers)
        }
