"""Attention over teachers: the sample's own representation chooses whom to listen to (AMTML-KD).

Liu, Zhang, Wang, *Adaptive multi-teacher multi-level knowledge distillation*, Neurocomputing 415, 2020:

    w = softmax_k(v^T (theta_k * beta)),    beta = maxpool(h_s)
    learnt by  T^2 KL(sum_k w_k softmax(z_k / T) || softmax(z_s / T)) + penalty (|v|^2 + sum_k |theta_k|^2)

theta_k [D]: latent representation of teacher k; v [D]: shared by all teachers; beta [D]: the student's pooled feature;
z_k, z_s: logits of teacher k and of the student; *: element by element. A teacher that no mixture needs in order to
resemble the student, which also learns from the labels, loses its weight.

`learn_from = "mixture"` is that loss of the paper, as a term of the weigher's own: the methods then take the weights
as constants, and their scales do not decide over the teachers. Its gradient for the student would be that of the
weighted `kd` terms, since sum_k w_k KL(p_k || q) = KL(sum_k w_k p_k || q) + (a Jensen-Shannon divergence of the
teachers, without q). `"labels"` asks instead that the mixture be right, -log sum_k w_k softmax(z_k)_y, as the gate of a
mixture of experts does (Jacobs et al. 1991): the paper's loss compares teachers with the student alone, so that a
teacher who is more certain than the student loses weight however right it is. It needs teachers' outputs out of fold,
or the most overfit one wins. `"terms"` lets the gradient of the weighted terms learn the weights, for teachers
without logits; it prefers whom the student follows most easily, and ends with one teacher.

`"meta"` (ours) asks what the attention is for: is the student that has listened to this mixture better off? theta and v
learn in the outer step of MMKD (`training/distillation/steps/meta.py`), as the net of the weigher `meta` does,

    (theta, v) <- Adam((theta, v), grad CE(S'(theta, v); held-out)),    S' = S - a grad_S mean_B sum_k w_k L_k

S: the student's parameters; L_k: the methods' terms of teacher k, or of edge k where a method's sources are edges. So
no teacher needs logits, and no overfit one wins: held-out samples decide. `penalty` has no part in it, the outer step
has a weight decay.

Differences to the authors' code: theta starts at 0, so that training begins with the uniform ensemble, where theirs is
drawn from a gaussian; beta is detached; their penalty of .1 on the sum of squares, independent of the size of the
batch, is a hyper-parameter; they train the adapter for 80 epochs before the student and then freeze it, here both
learn together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.base import Terms
from training.distillation.outputs import Batch, Output
from training.distillation.weighers.base import Weigher
from training.distillation.weighers.reading import require_built, stacked_logits, vector


@dataclass(frozen=True)
class AttentionSelectConfig:
    """Hyper-parameters of `attention_select`."""

    student_layer: str = ""
    """The student's layer that is pooled; empty for its last."""
    pooling: Literal["max", "mean"] = "max"
    """How a sequence or a map becomes one vector."""
    learn_from: Literal["mixture", "labels", "terms", "meta"] = "mixture"
    """What teaches the attention: how the mixture of the teachers' answers resembles the student, how right it is, the
    weighted terms of the methods, or held-out samples in an outer step."""
    temperature: float = 4.0
    """T of the mixture that resembles the student."""
    penalty: float = 1e-3
    """Factor of the squares of v and theta."""

    def __post_init__(self) -> None:
        checks.choice(self, "pooling", ("max", "mean"))
        checks.choice(self, "learn_from", ("mixture", "labels", "terms", "meta"))
        checks.number(self, "temperature", above=0)
        checks.number(self, "penalty", least=0)


def attention_weights(feature: Tensor, theta: Tensor, v: Tensor) -> Tensor:
    """Return softmax_k(v^T (theta_k * beta)), [B, K], for beta [B, D], theta [K, D] and v [D]."""
    return torch.softmax(feature @ (theta * v).T, dim=-1)


def mixture_divergence(weights: Tensor, teachers: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(sum_k w_k softmax(z_k / T) || softmax(z_s / T)), [B].

    Args:
        weights: [B, K].
        teachers: logits [B, K, C].
        student: logits [B, C].
        temperature: T.
    """
    log_teachers = torch.log_softmax(teachers / temperature, dim=-1)
    smallest = torch.finfo(weights.dtype).tiny
    log_mixture = torch.logsumexp(log_teachers + weights.clamp(min=smallest).log().unsqueeze(-1), dim=1)
    log_student = torch.log_softmax(student / temperature, dim=-1)
    return temperature**2 * (log_mixture.exp() * (log_mixture - log_student)).sum(dim=-1)


def mixture_surprisal(weights: Tensor, teachers: Tensor, target: Tensor) -> Tensor:
    """Return -log sum_k w_k softmax(z_k)_y, [B]; 0 where a sample has no label.

    Args:
        weights: [B, K].
        teachers: logits [B, K, C].
        target: y, class indices [B], -1 without a label.
    """
    labels = target.clamp_min(0)[:, None, None].expand(-1, teachers.shape[1], 1)
    said = torch.log_softmax(teachers, dim=-1).gather(-1, labels).squeeze(-1)
    smallest = torch.finfo(weights.dtype).tiny
    surprisal = -torch.logsumexp(said + weights.clamp(min=smallest).log(), dim=1)
    return torch.where(target >= 0, surprisal, 0.0)


class AttentionSelect(Weigher):
    """AMTML-KD: attention from the student's feature to a latent representation of each teacher."""

    name = "attention_select"
    paper = (
        "Liu, Zhang, Wang: Adaptive Multi-Teacher Multi-Level Knowledge Distillation, Neurocomputing 2020 (AMTML-KD)"
    )
    equation = "w = softmax_k(v^T (theta_k * beta)), beta = maxpool(h_s)"
    needs = frozenset({"features", "logits"})
    Config = AttentionSelectConfig

    def __init__(self, **hyperparameters: object) -> None:
        super().__init__(**hyperparameters)
        self.theta = nn.Parameter(torch.zeros(0, 0))
        self.v = nn.Parameter(torch.zeros(0))

    @property
    def meta_learned(self) -> bool:
        """Where held-out samples teach the attention."""
        return bool(self.config.learn_from == "meta")

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create theta [K, D] and v [D]."""
        feature = self._feature(student)
        width = feature.shape[1]
        self.theta = nn.Parameter(feature.new_zeros(len(teachers), width))
        self.v = nn.Parameter(torch.randn(width).to(feature) / width**0.5)

    def weigh(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Tensor:
        """Return the weights [B, K]; they carry a gradient only where the loss is to teach them."""
        require_built(self.name, len(self.theta), teachers)
        weights = attention_weights(self._feature(student), self.theta, self.v)
        return weights if self.config.learn_from in ("terms", "meta") else weights.detach()

    def terms(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return the loss of the attention, with the student as a constant; none where it learns in an outer step."""
        if self.meta_learned:
            return {}
        feature = self._feature(student)
        penalty = self.config.penalty * (self.theta.square().sum() + self.v.square().sum())
        loss = penalty.expand(len(feature))
        if self.config.learn_from != "terms":
            weights = attention_weights(feature, self.theta, self.v)
            loss = loss + self._misfit(weights, student, stacked_logits(self.name, teachers), batch)
        return {"attention_fit": loss}

    def _misfit(self, weights: Tensor, student: Output, teachers: Tensor, batch: Batch) -> Tensor:
        """How little the mixture resembles the student, or how wrong it is, [B]."""
        if self.config.learn_from == "labels":
            if batch.target is None:
                raise ValueError("attention_select learns from labels, and the batch has no target; set learn_from")
            return mixture_surprisal(weights, teachers, batch.target)
        if student.logits is None:
            raise ValueError("attention_select needs the student's logits, and it gives none; set learn_from = 'terms'")
        return mixture_divergence(weights, teachers, student.logits.detach(), self.config.temperature)

    def _feature(self, student: Output) -> Tensor:
        return vector(self.name, "the student", student, self.config.student_layer, self.config.pooling)
