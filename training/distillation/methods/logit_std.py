"""Sun, Ren, Li, Wang & Cao, *Logit Standardization in Knowledge Distillation*, CVPR 2024.

    L = T^2 KL(softmax(Z(z_t) / T) || softmax(Z(z_s) / T)),   Z(z) = (z - mean z) / std z, over the classes

z_s, z_t: logits of student and teacher; T: base temperature. The student is free in the shift and the scale of its
logits: only their relations are taught.

The text divides the variance by C, the number of classes; the authors' code by C - 1 (torch's default), which is
the same as a temperature larger by sqrt(C / (C - 1)). This follows the text.

What it costs: nothing holds the scale of the student's logits, so its probabilities mean little. On the
composed corpus the expected calibration error was .53 at the accuracy of the others; set a temperature on validation
before they are used as confidences.

Of two logits the z-scores are 1 and -1, whatever they are: with two classes there is nothing to learn, and the method
is refused.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.kd import kd
from training.distillation.methods.numerics import unit
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def standardize(logits: Tensor) -> Tensor:
    """Z-scores [B, C] over the classes; 0 where all logits of a sample are equal."""
    # A centred vector divided by its norm, times sqrt(C): safe at zero.
    return unit(logits - logits.mean(1, keepdim=True)) * math.sqrt(logits.shape[1])


def logit_std(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the loss [B] of logits [B, C].

    Raises:
        ValueError: there are fewer than three classes.
    """
    if student.shape[1] < 3:
        raise ValueError(f"logit_std: needs three classes or more, there are {student.shape[1]}")
    return kd(standardize(student), standardize(teacher), temperature)


@dataclass(frozen=True)
class LogitStdConfig:
    """Hyper-parameters of `logit_std`."""

    temperature: float = 2.0
    """T, in units of the logits' standard deviation."""
    weight: float = 9.0
    """Factor of the term, the authors' for CIFAR-100."""

    def __post_init__(self) -> None:
        checks.number(self, "temperature", above=0)
        checks.number(self, "weight", least=0)


class LogitStd(Method):
    """KD on standardised logits."""

    name = "logit_std"
    family = "A"
    paper = "Sun, Ren, Li, Wang & Cao, Logit Standardization in Knowledge Distillation, CVPR, 2024"
    equation = "T^2 KL(softmax(Z(z_t) / T) || softmax(Z(z_s) / T)), Z(z) = (z - mean z) / std z"
    needs = frozenset({"logits"})
    Config = LogitStdConfig
    config: LogitStdConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `logit_std/teacher` for every teacher."""
        return {
            f"logit_std/{name}": self.config.weight * logit_std(z_s, z_t, self.config.temperature)
            for name, z_s, z_t in logit_pairs("logit_std", student, teachers)
        }
