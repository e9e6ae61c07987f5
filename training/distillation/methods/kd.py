"""Hinton, Vinyals & Dean, *Distilling the Knowledge in a Neural Network*, NIPS Deep Learning Workshop 2015.

    L = T^2 KL(softmax(z_t / T) || softmax(z_s / T))

z_s, z_t: logits of student and teacher; T: temperature. T^2 keeps the gradient's size when T changes; for large T
the loss tends to the squared distance of the centred logits over 2 C, C the number of classes.

The authors published no code. Many copies take `reduction="mean"`, which also divides by the number of classes;
here it is the sum over classes, per sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.numerics import kl
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the loss [B] of logits [B, C]."""
    return temperature**2 * kl(teacher / temperature, student / temperature)


@dataclass(frozen=True)
class KDConfig:
    """Hyper-parameters of `kd`."""

    temperature: float = 4.0
    """T: above 1, the wrong classes' likeness counts more."""
    weight: float = 1.0
    """Factor of the term."""

    def __post_init__(self) -> None:
        checks.number(self, "temperature", above=0)
        checks.number(self, "weight", least=0)


class KD(Method):
    """Matches softened class probabilities."""

    name = "kd"
    family = "A"
    paper = "Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, NIPS Deep Learning Workshop, 2015"
    equation = "T^2 KL(softmax(z_t / T) || softmax(z_s / T))"
    needs = frozenset({"logits"})
    Config = KDConfig
    config: KDConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `kd/teacher` for every teacher."""
        weight, temperature = self.config.weight, self.config.temperature
        return {
            f"kd/{name}": weight * kd(z_s, z_t, temperature) for name, z_s, z_t in logit_pairs("kd", student, teachers)
        }
