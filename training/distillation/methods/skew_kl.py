"""Ko, Kim, Chen & Yun, *DistiLLM: Towards Streamlined Distillation for Large Language Models*, ICML 2024.

    forward:  L = KL(p || a p + (1 - a) q)        reverse:  L = KL(q || (1 - a) p + a q)

p, q: softmax(z / T) of teacher and student; a: skew. With a = 0 these are KD's KL, under which the student must cover
all that the teacher thinks likely, and the reverse KL, under which it may choose of that what it can hold (MiniLLM, Gu
et al., ICLR 2024). A little skew bounds the gradient where one of the two has no mass: p / (a p + (1 - a) q) <= 1 / a.

The authors' code leaves out the teacher's entropy of the forward form, which has no gradient: there the loss is not 0
for equal answers, here it is. Theirs has T = 1 and no T^2, theirs being next words; the factor T^2 is KD's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.numerics import kl
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def skew_kl(first: Tensor, second: Tensor, skew: float) -> Tensor:
    """Return KL(x || skew x + (1 - skew) y), [B], of the distributions of logits [B, C]; y is the second's."""
    if skew == 0:
        return kl(first, second)
    x, y = first.log_softmax(1), second.log_softmax(1)
    return kl(x, torch.logaddexp(x + math.log(skew), y + math.log1p(-skew)))


@dataclass(frozen=True)
class SkewKLConfig:
    """Hyper-parameters of `skew_kl`."""

    direction: Literal["forward", "reverse"] = "reverse"
    """Whose likely classes count: the teacher's (`forward`), or the student's."""
    skew: float = 0.1
    """a, the authors'; 0: the plain KL of the direction."""
    temperature: float = 1.0
    """T of both sides."""
    weight: float = 1.0
    """Factor of the term."""

    def __post_init__(self) -> None:
        checks.choice(self, "direction", ("forward", "reverse"))
        checks.number(self, "skew", least=0)
        if self.skew >= 1:
            raise ValueError(f"skew must be less than 1, got {self.skew!r}")
        checks.number(self, "temperature", above=0)
        checks.number(self, "weight", least=0)


class SkewKL(Method):
    """KL against a mixture with one's own side: forward covers what the teacher says, reverse chooses of it."""

    name = "skew_kl"
    family = "A"
    paper = "Ko, Kim, Chen & Yun, DistiLLM: Towards Streamlined Distillation for Large Language Models, ICML, 2024"
    equation = "T^2 KL(p_s || (1 - a) p_t + a p_s), or T^2 KL(p_t || a p_t + (1 - a) p_s)"
    needs = frozenset({"logits"})
    Config = SkewKLConfig
    config: SkewKLConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `skew_kl/teacher` for every teacher."""
        terms: Terms = {}
        for name, z_s, z_t in logit_pairs("skew_kl", student, teachers):
            z_s, z_t = z_s / self.config.temperature, z_t / self.config.temperature
            first, second = (z_t, z_s) if self.config.direction == "forward" else (z_s, z_t)
            divergence = skew_kl(first, second, self.config.skew)
            terms[f"skew_kl/{name}"] = self.config.weight * self.config.temperature**2 * divergence
        return terms
