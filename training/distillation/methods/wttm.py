"""Zheng & Yang, *Knowledge Distillation Based on Transformed Teacher Matching*, ICLR 2024.

    L = U KL(p^g / U || q),    U = sum_c p_c^g,    p = softmax(z_t),  q = softmax(z_s),  g = 1 / T

z_s, z_t: logits of student and teacher. p^g / U is the teacher at temperature T; the student has none, which adds a
Renyi entropy of its answer to the objective of KD and so keeps it from being too sure. U is 1 for a teacher that is
sure, and C^(1 - g) for one that knows nothing of the C classes: those samples count more (WTTM); without it, TTM.

As in the authors' code there is no T^2: the student's gradient does not shrink with T. Theirs raises probabilities to a
power, which underflow; here everything stays in logarithms.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.numerics import kl
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def wttm(student: Tensor, teacher: Tensor, exponent: float, weighted: bool = True) -> Tensor:
    """Return the loss [B] of logits [B, C]; `exponent` is g."""
    powers = exponent * teacher.log_softmax(1)
    matched = kl(powers, student)
    return torch.logsumexp(powers, 1).exp() * matched if weighted else matched


@dataclass(frozen=True)
class WTTMConfig:
    """Hyper-parameters of `wttm`."""

    exponent: float = 0.25
    """g = 1 / T: the smaller, the softer the teacher."""
    weighted: bool = True
    """Whether unsure samples of the teacher count more: WTTM; else TTM."""
    weight: float = 1.0
    """Factor of the term."""

    def __post_init__(self) -> None:
        checks.number(self, "exponent", above=0)
        checks.number(self, "weight", least=0)


class WTTM(Method):
    """Matches the softened teacher with the student as it answers, and those samples most that the teacher doubts."""

    name = "wttm"
    family = "A"
    paper = "Zheng & Yang, Knowledge Distillation Based on Transformed Teacher Matching, ICLR, 2024"
    equation = "U KL(p_t^g / U || p_s), U = sum_c p_t,c^g"
    needs = frozenset({"logits"})
    Config = WTTMConfig
    config: WTTMConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `wttm/teacher` for every teacher."""
        return {
            f"wttm/{name}": self.config.weight * wttm(z_s, z_t, self.config.exponent, self.config.weighted)
            for name, z_s, z_t in logit_pairs("wttm", student, teachers)
        }
