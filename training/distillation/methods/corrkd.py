"""After Li et al., *Correlation-Decoupled Knowledge Distillation for Multimodal Sentiment Analysis with Incomplete
Modalities*, CVPR 2024 (CorrKD). Its parts are known from descriptions of the paper, not from its equations, and it has
no published code: a method of its kind.

    L = SCD + CPD + RCD
    SCD_i = |h_s,i - h_t,i|^2 + mean over j != i of max(0, m - |h_s,i - h_t,j|)^2
    CPD_i = mean over classes c of (cos(h_s,i, c_s) - cos(h_t,i, c_t))^2
    RCD_i = - sum over r in {target, others} of I_r,i
    I_r,i = - softplus(-V_r(r_s,i, r_t,i)) - mean over j != i of softplus(V_r(r_s,i, r_t,j))

The teacher has the complete sample, the student what its modality mask leaves of it. h: representations, the student's
after a learned regressor, both divided by the root of their width; m: margin; c_s, c_t: prototypes, the means of a
class's representations in the batch, of either side; r: the response, taken apart into the probability of the target
and the others' as they are; V_r: learned nets, so that I is the Jensen-Shannon bound of the mutual information of
student and teacher, which rises. It has no floor at zero. Classes that the batch lacks have no prototype, and samples
without a label no CPD and no target. Samples that lack every modality have no loss and are nobody's others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted, placed, regressor
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, pairs_of
from training.distillation.methods.modalities import fused_pairs, rows_with
from training.distillation.methods.numerics import length, masked_row_mean, unit
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def sample_contrast(student: Tensor, teacher: Tensor, others: Tensor, margin: float) -> Tensor:
    """Return SCD [B] of representations [B, D]; `others` [B, B] says who is whose j."""
    apart = length(student.unsqueeze(1) - teacher.unsqueeze(0))
    return (student - teacher).square().sum(1) + masked_row_mean((margin - apart).clamp_min(0).square(), others)


def prototype_gap(student: Tensor, teacher: Tensor, member: Tensor) -> Tensor:
    """Return CPD [B] of representations [B, D], where `member` [B, C] is 1 for samples of a class."""
    there = member.sum(0) > 0
    cosines = [unit(h) @ unit(member.T @ h / member.sum(0).clamp_min(1).unsqueeze(1)).T for h in (student, teacher)]
    return masked_row_mean((cosines[0] - cosines[1]).square(), there.expand(len(student), -1))


def mutual_information(scores: Tensor, others: Tensor) -> Tensor:
    """Return I [B], the Jensen-Shannon bound, of scores V [B, B] of student i with teacher j."""
    return -functional.softplus(-scores.diagonal()) - masked_row_mean(functional.softplus(scores), others)


class Critic(nn.Module):
    """V_r: how well a response of the student fits one of the teacher."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 * inputs, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the scores [B, B] of all pairs of responses [B, R]."""
        size = len(student)
        pairs = [student.unsqueeze(1).expand(-1, size, -1), teacher.unsqueeze(0).expand(size, -1, -1)]
        scores: Tensor = self.net(torch.cat(pairs, dim=-1)).squeeze(-1)
        return scores


@dataclass(frozen=True)
class CorrKDConfig:
    """Hyper-parameters of `corrkd`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the fused features."""
    sample: float = 1.0
    """Factor of SCD."""
    prototype: float = 1.0
    """Factor of CPD."""
    response: float = 1.0
    """Factor of RCD."""
    margin: float = 1.0
    """m: other samples further away than this are not pushed."""
    hidden: int = 16
    """Width inside the critics V."""

    def __post_init__(self) -> None:
        checks.layers(self)
        for field in ("sample", "prototype", "response", "margin"):
            checks.number(self, field, least=0)
        checks.count(self, "hidden")


class CorrKD(Adapted):
    """Correlations of a complete-modality teacher, between samples, classes and responses, under missing modalities."""

    name = "corrkd"
    family = "E"
    paper = (
        "after Li et al., Correlation-Decoupled Knowledge Distillation for MSA with Incomplete Modalities, CVPR, 2024"
    )
    equation = (
        "|h_s - h_t|^2 + max(0, m - |h_s - h_t,j|)^2 + (cos(h_s, c_s) - cos(h_t, c_t))^2 - I(target) - I(others), "
        "I the Jensen-Shannon bound"
    )
    needs = frozenset({"logits", "features", "target"})
    scaled = ("sample", "prototype", "response")
    Config = CorrKDConfig
    config: CorrKDConfig

    def __init__(self, **hyperparameters: object) -> None:
        super().__init__(**hyperparameters)
        self.critics = nn.ModuleDict()
        self._layers: Layers = self.config.layers

    @property
    def layers(self) -> Layers:
        """Pairs (student layer, teacher layer)."""
        return self._layers

    def make(self, pair: Pair) -> nn.Linear:
        """Create the regressor."""
        h_s, h_t = pair.vectors()
        return regressor(h_s.shape[1], h_t.shape[1])

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create regressors and critics; raises ValueError for a missing layer or logits that don't fit."""
        self._layers = self.config.layers or fused_pairs(self.name, student, teachers)
        super().build(student, teachers)
        for name, z_s, _ in logit_pairs(self.name, student, teachers):
            for part, width in (("target", 1), ("others", z_s.shape[1] - 1)):
                self.critics[_key(name, part)] = placed(Critic(width, self.config.hidden), z_s)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `corrkd_sample/teacher`, `corrkd_prototype/teacher` and `corrkd_response/teacher` for each."""
        if batch.target is None:
            raise ValueError("corrkd needs the target classes of the batch; use `missing` for data without labels")
        pairs = pairs_of(self.name, self._layers, student, teachers)
        terms: Terms = {}
        for name, z_s, z_t in logit_pairs(self.name, student, teachers):
            parts = [self._of_features(pair, student, batch.target, z_s.shape[1]) for pair in pairs[name]]
            samples, prototypes = (torch.stack(part).sum(0) for part in zip(*parts, strict=True))
            terms[f"corrkd_sample/{name}"] = self.config.sample * samples
            terms[f"corrkd_prototype/{name}"] = self.config.prototype * prototypes
            valid = rows_with(student, pairs[name][0].layers[0])
            terms[f"corrkd_response/{name}"] = self.config.response * self._of_responses(
                name, z_s, z_t, batch.target, valid
            )
        return terms

    def _of_features(self, pair: Pair, student: Output, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        h_s, h_t = pair.vectors()
        valid = rows_with(student, pair.layers[0])
        rows = valid.unsqueeze(1)
        h_s = torch.where(rows, self.adapter(pair)(torch.where(rows, h_s, 0.0)), 0.0) / h_t.shape[1] ** 0.5
        h_t = torch.where(rows, h_t, 0.0) / h_t.shape[1] ** 0.5
        member = _members(target, classes, h_s) * rows
        contrast = sample_contrast(h_s, h_t, _others(valid), self.config.margin)
        gap = prototype_gap(h_s, h_t, member)
        return torch.where(valid, contrast, 0.0), torch.where(valid & (target >= 0), gap, 0.0)

    def _of_responses(self, name: str, z_s: Tensor, z_t: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        labelled, column = valid & (target >= 0), target.clamp_min(0).unsqueeze(1)
        p_s, p_t = z_s.softmax(1), z_t.softmax(1)
        rest = torch.arange(z_s.shape[1] - 1, device=z_s.device).expand(len(z_s), -1)
        rest = rest + (rest >= column)
        others = _others(labelled)
        parts = {
            "target": (p_s.gather(1, column), p_t.gather(1, column)),
            "others": (p_s.gather(1, rest), p_t.gather(1, rest)),
        }
        information = [
            mutual_information(self.critics[_key(name, part)](*sides), others) for part, sides in parts.items()
        ]
        return torch.where(labelled, -torch.stack(information).sum(0), 0.0)


def _members(target: Tensor, classes: int, like: Tensor) -> Tensor:
    """One-hot classes [B, C] of targets [B]; a row of zeros where there is no label."""
    return functional.one_hot(target.clamp_min(0), classes).to(like.dtype) * (target >= 0).unsqueeze(1)


def _others(valid: Tensor) -> Tensor:
    """[B, B], true where j is another valid row."""
    return valid & ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)


def _key(teacher: str, part: str) -> str:
    """A ModuleDict takes no dots."""
    return f"{teacher}:{part}".replace(".", "%2E")
