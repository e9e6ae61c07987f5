"""Zhao, Cui, Song, Qiu & Liang, *Decoupled Knowledge Distillation*, CVPR 2022.

    L = T^2 (alpha TCKD + beta NCKD),   KD itself being  TCKD + (1 - p_t(y)) NCKD
    TCKD = KL over (p(y), 1 - p(y)),    NCKD = KL over softmax(z / T) without class y

y: target class; p: softmax(z / T) of student or teacher; T: temperature; alpha, beta: weights of the target and of
the non-target part.

The authors' code (mdistiller) takes class y out by subtracting 1000 from its scaled logit, which fails for logits
of that size, and takes the logarithm of probabilities that may have underflowed. Here class y is left out by index,
and everything stays in logarithms. Their warm-up counts epochs, 20 of 240; here it is a share of the run. Of two
classes NCKD is 0, as one is left.
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


def dkd(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return T^2 TCKD and T^2 NCKD, each [B], of logits [B, C] with targets [B]; 0 where that is -1 (no label)."""
    labelled = target >= 0
    (s_binary, s_others), (t_binary, t_others) = (
        _decouple(logits / temperature, target.clamp_min(0)) for logits in (student, teacher)
    )
    scale = labelled * temperature**2
    return scale * kl(t_binary, s_binary), scale * kl(t_others, s_others)


def warm_up(step: int, total_steps: int, share: float) -> float:
    """Rise linearly from 0 to 1 over the first `share` of the run; 1 where the run's length is unknown."""
    return min(1.0, step / (share * total_steps)) if share * total_steps > 0 else 1.0


def _decouple(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Split [B, C] into logits of (y, not y) [B, 2] and those of the other classes [B, C - 1]."""
    column = target.unsqueeze(1)
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    rest = logits.gather(1, others + (others >= column))
    return torch.cat([logits.gather(1, column), rest.logsumexp(1, keepdim=True)], 1), rest


@dataclass(frozen=True)
class DKDConfig:
    """Hyper-parameters of `dkd`."""

    temperature: float = 4.0
    """T: above 1, the wrong classes' likeness counts more."""
    alpha: float = 1.0
    """Weight of the target class part: a knob of its own."""
    beta: float = 1.0
    """Weight of the other classes' part; the authors use 0.5 to 8, the more the surer the teacher is. Chosen beside a
    fixed alpha: both by one factor was worse on FER2013, 36.2 against 40.0 with alpha 1 and beta 0.3."""
    warmup: float = 0.08
    """Share of the run over which the loss rises from 0."""

    def __post_init__(self) -> None:
        checks.number(self, "temperature", above=0)
        for field in ("alpha", "beta", "warmup"):
            checks.number(self, field, least=0)


class DKD(Method):
    """Matches the target's probability and the other classes' shares apart: a sure teacher still teaches both."""

    name = "dkd"
    family = "A"
    paper = "Zhao, Cui, Song, Qiu & Liang, Decoupled Knowledge Distillation, CVPR, 2022"
    equation = (
        "T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s)), b = (p_y, 1 - p_y), q = softmax(z / T) without class y"
    )
    needs = frozenset({"logits", "target"})
    scaled = ("beta",)
    Config = DKDConfig
    config: DKDConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `dkd_target/teacher` and `dkd_others/teacher` for every teacher."""
        if batch.target is None:
            raise ValueError("dkd needs the target classes of the batch; use `kd` for data without labels")
        rise = warm_up(batch.step, batch.total_steps, self.config.warmup)
        terms: Terms = {}
        for name, z_s, z_t in logit_pairs("dkd", student, teachers):
            target, others = dkd(z_s, z_t, batch.target, self.config.temperature)
            terms[f"dkd_target/{name}"] = rise * self.config.alpha * target
            terms[f"dkd_others/{name}"] = rise * self.config.beta * others
        return terms
