"""Confidence-aware weights: the teacher that is right about this sample counts most (CA-MKD).

Zhang, Chen, Wang, *Confidence-Aware Multi-Teacher Knowledge Distillation*, ICASSP 2022:

    w_k = (1 - exp(CE_k) / sum_j exp(CE_j)) / (K - 1)

- `of = "responses"`: CE_k is the cross entropy of teacher k's logits with the label.
- `of = "features"`: CE_k is that of c_k(r_k(h)): the teacher's own classifier c_k on the student's feature h,
  projected into the teacher's space by r_k. It asks whose space the student could already be right in.

K: teachers. A very wrong teacher gets 0, a right one at most 1 / (K - 1). For a continuous sentiment the squared error
of the score stands in the place of the cross entropy (ours; the paper classifies).

Differences to the authors' code: it also divides the loss by K, so that its weights sum to 1 / K; here they sum to 1.
Its r_k is the adapter of the feature loss, which drags the weights' gradient along; here r_k has its own regression
onto the teacher's feature (`terms`), with the student detached, so that the weigher goes with any method. Outputs of
teachers come from a cache, without their classifiers: c_k is fitted to the teacher's feature and logits beside r_k,
unless `use_classifiers` brings the real ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.base import Terms
from training.distillation.methods.numerics import kl
from training.distillation.outputs import Batch, Output
from training.distillation.weighers.base import Weigher
from training.distillation.weighers.reading import (
    complement,
    cross_entropies,
    errors,
    require_built,
    stacked_logits,
    vector,
)


@dataclass(frozen=True)
class ConfidenceConfig:
    """Hyper-parameters of `confidence`."""

    of: Literal["responses", "features"] = "responses"
    """Whether teachers are judged by their answers, or by what they make of the student's feature."""
    student_layer: str = ""
    """With `features`: the student's layer; empty for its last."""
    teacher_layer: str = ""
    """With `features`: the teachers' layer in front of their classifier; empty for the last of each."""

    def __post_init__(self) -> None:
        checks.choice(self, "of", ("responses", "features"))


def confidence_weights(error: Tensor) -> Tensor:
    """Return the weights [B, K] of teachers whose errors are [B, K]."""
    return complement(torch.softmax(error, dim=-1))


class Confidence(Weigher):
    """CA-MKD: weights from how wrong each teacher is about the label."""

    name = "confidence"
    paper = "Zhang, Chen, Wang: Confidence-Aware Multi-Teacher Knowledge Distillation, ICASSP 2022 (CA-MKD)"
    equation = "w_k = (1 - softmax_k(CE_k)) / (K - 1), CE_k = CE(teacher k, y) or CE(c_k(r_k(h_s)), y)"
    needs = frozenset({"target"})
    Config = ConfidenceConfig

    def __init__(self, **hyperparameters: object) -> None:
        super().__init__(**hyperparameters)
        self.projections = nn.ModuleDict()
        self.classifiers = nn.ModuleDict()
        self._given: set[str] = set()

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create r_k and c_k where features are asked for."""
        if self.config.of == "responses":
            return
        width = self._student(student).shape[1]
        classes = stacked_logits(self.name, teachers).shape[2]
        for name, teacher in teachers.items():
            feature = self._teacher(name, teacher)
            self.projections[_key(name)] = nn.Linear(width, feature.shape[1]).to(feature)
            if name not in self._given:
                self.classifiers[_key(name)] = nn.Linear(feature.shape[1], classes).to(feature)

    def use_classifiers(self, classifiers: Mapping[str, nn.Module]) -> None:
        """Take the teachers' own classifiers, [B, D_k] -> [B, C], frozen, instead of fitting them; before `build`."""
        for name, classifier in classifiers.items():
            self.classifiers[_key(name)] = classifier.requires_grad_(False)
            self._given.add(name)

    @torch.no_grad()
    def weigh(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Tensor:
        """Return the weights [B, K]; raises ValueError without labels."""
        if self.config.of == "responses":
            return confidence_weights(errors(self.name, teachers, batch))
        require_built(self.name, len(self.projections), teachers)
        if batch.target is None:
            raise ValueError("confidence of features asks who is right: it needs a target")
        feature = self._student(student)
        logits = [self.classifiers[_key(name)](self.projections[_key(name)](feature)) for name in teachers]
        return confidence_weights(cross_entropies(torch.stack(logits, dim=1), batch.target))

    def terms(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return what fits r_k to the teachers' features, and c_k to their logits."""
        if self.config.of == "responses":
            return {}
        ours = self._student(student)
        fits = []
        for name, teacher in teachers.items():
            theirs = self._teacher(name, teacher)
            fits.append((self.projections[_key(name)](ours) - theirs).square().mean(dim=1))
            if name not in self._given:
                logits = stacked_logits(self.name, {name: teacher})[:, 0]
                fits.append(kl(logits, self.classifiers[_key(name)](theirs)))
        return {"confidence_fit": torch.stack(fits).sum(dim=0)}

    def _student(self, student: Output) -> Tensor:
        return vector(self.name, "the student", student, self.config.student_layer)

    def _teacher(self, name: str, teacher: Output) -> Tensor:
        return vector(self.name, f"teacher {name!r}", teacher, self.config.teacher_layer)


def _key(teacher: str) -> str:
    """A ModuleDict takes no dots."""
    return teacher.replace(".", "%2E")
