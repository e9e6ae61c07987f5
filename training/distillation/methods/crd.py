"""Tian, Krishnan & Isola, *Contrastive Representation Distillation*, ICLR 2020.

    nce:      L = -log h(t_i, s_i) - sum_{j in N_i} log(1 - h(t_i, s_j))
              h(t, s) = e^{t . s / T} / (e^{t . s / T} + n Z)
    infonce:  L = -log e^{t_i . s_i / T} / (e^{t_i . s_i / T} + sum_{j in N_i} e^{t_i . s_j / T})

plus the same with student and teacher exchanged. s, t: a learned linear projection of each side's feature, divided
by its norm; T: temperature; N_i: n samples of other classes than i's (other samples, where a label is not known); Z:
the mean of e^{t . s / T}, a running one.

The text writes N / M for n Z, M the number of training samples; the authors' code divides both sides by its estimate Z
M, which takes M out, and gives the form above. It draws negatives from other classes, as here: on few classes most
other samples are of the same one, and copies of a clip would repel each other. Its negatives come from memory banks of
all M samples, mixed with momentum; here they are those of the batch and of a queue of the newest embeddings, a few
batches old, so that memory and time don't depend on M and no momentum is needed. It takes Z once, from the first batch,
where embeddings point nowhere; as they gather, every e^{t . s / T} outgrows that Z, and the term rises however well
pairs match. So Z follows them here, as a constant for the gradient. `infonce` is the form of van den Oord et al. 2018,
without Z.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, Pooling, layer_terms
from training.distillation.methods.numerics import unit
from training.distillation.outputs import Batch, Output

Form = Literal["nce", "infonce"]


def nce(positive: Tensor, negative: Tensor, valid: Tensor, log_mean: Tensor) -> Tensor:
    """Return the noise-contrastive loss [B].

    Args:
        positive: t_i . s_i / T, [B].
        negative: t_i . s_j / T, [B, N].
        valid: [B, N], true where j is a negative of i.
        log_mean: log Z, a scalar.
    """
    offset = valid.sum(1).clamp_min(1).log() + log_mean
    against = functional.softplus(negative - offset.unsqueeze(1))
    return functional.softplus(offset - positive) + torch.where(valid, against, 0.0).sum(1)


def infonce(positive: Tensor, negative: Tensor, valid: Tensor) -> Tensor:
    """Return the loss [B]: cross entropy of the positive among the valid negatives; arguments as of `nce`."""
    scores = torch.cat([positive.unsqueeze(1), negative.masked_fill(~valid, -math.inf)], 1)
    return scores.logsumexp(1) - positive


def negatives(index: Tensor, target: Tensor, ids: Tensor, classes: Tensor) -> Tensor:
    """Return [B, N], true where entry j is a negative of i: another sample, and of another class if both are known.

    Args:
        index: sample ids [B].
        target: class indices [B], -1 where there is no label.
        ids: sample ids [N], -1 where there is no entry.
        classes: class indices [N], as `target`.
    """
    index, target = index.unsqueeze(1), target.unsqueeze(1)
    return (ids >= 0) & (ids != index) & ((classes != target) | (classes < 0) | (target < 0))


class Contrast(nn.Module):
    """Projections of one pair of layers, and a queue of their newest embeddings."""

    students: Tensor
    teachers: Tensor
    indices: Tensor
    targets: Tensor
    log_means: Tensor
    ready: Tensor

    def __init__(self, ours: int, theirs: int, width: int, size: int) -> None:
        super().__init__()
        self.project_student = nn.Linear(ours, width)
        self.project_teacher = nn.Linear(theirs, width)
        # All that a run must remember, newest first; an index of -1 marks an empty place.
        self.register_buffer("students", torch.zeros(size, width))
        self.register_buffer("teachers", torch.zeros(size, width))
        self.register_buffer("indices", torch.full((size,), -1))
        self.register_buffer("targets", torch.full((size,), -1))
        self.register_buffer("log_means", torch.zeros(2))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def forward(self, h_s: Tensor, h_t: Tensor, batch: Batch, config: "CRDConfig") -> Tensor:
        """Return the loss [B] of vectors [B, D] of a batch with ids; in training mode, remember them as negatives."""
        assert batch.index is not None
        s, t = unit(self.project_student(h_s)), unit(self.project_teacher(h_t))
        target = torch.full_like(batch.index, -1) if batch.target is None else batch.target
        ids, classes = torch.cat([batch.index, self.indices]), torch.cat([target, self.targets])
        valid = negatives(batch.index, target, ids, classes)
        positive = (s * t).sum(1) / config.temperature
        over_students = t @ torch.cat([s, self.students]).T / config.temperature
        over_teachers = s @ torch.cat([t, self.teachers]).T / config.temperature
        if config.form == "infonce":
            loss = infonce(positive, over_students, valid) + infonce(positive, over_teachers, valid)
        else:
            z_s, z_t = self._log_means(torch.stack([over_students, over_teachers])[:, :, ids >= 0], config.momentum)
            loss = nce(positive, over_students, valid, z_s) + nce(positive, over_teachers, valid, z_t)
        if self.training:
            # In new tensors: the old ones belong to the graph of the loss.
            size = len(self.indices)
            self.students = torch.cat([s.detach(), self.students])[:size]
            self.teachers = torch.cat([t.detach(), self.teachers])[:size]
            self.indices, self.targets = ids[:size], classes[:size]
        return loss

    def _log_means(self, scores: Tensor, momentum: float) -> Tensor:
        """log Z of both directions, [2], after these scores [2, B, N]."""
        scores = scores.detach().flatten(1)
        means = scores.logsumexp(1) - math.log(scores.shape[1])
        if self.ready:
            before = self.log_means.to(means)
            means = torch.logaddexp(before + math.log(momentum), means + math.log1p(-momentum)) if momentum else means
        if self.training:
            self.log_means, self.ready = means, torch.ones_like(self.ready)
        return means


@dataclass(frozen=True)
class CRDConfig:
    """Hyper-parameters of `crd`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the last features."""
    form: Form = "nce"
    """`nce` as published, or `infonce`."""
    temperature: float = 0.07
    """T: the smaller, the more the nearest negatives count."""
    width: int = 128
    """Dimensions of the embedding that both sides are projected to."""
    queue: int = 256
    """Embeddings remembered as negatives, beside those of the batch: what a few steps make, as older ones were made by
    another student."""
    momentum: float = 0.9
    """What Z keeps of itself at a step; with 0 it is that of the batch."""
    pooling: Pooling = "mean"
    """How sequences and maps become vectors: their `mean`, or `flatten`, which needs inputs of one length."""
    weight: float = 0.8
    """Factor of the term, the authors'."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.choice(self, "form", ("nce", "infonce"))
        checks.number(self, "temperature", above=0)
        checks.count(self, "width")
        checks.count(self, "queue", least=0)
        checks.number(self, "momentum", least=0)
        if self.momentum >= 1:
            raise ValueError(f"momentum must be less than 1, got {self.momentum!r}")
        checks.choice(self, "pooling", ("mean", "flatten"))
        checks.number(self, "weight", least=0)


class CRD(Adapted):
    """Makes student and teacher agree on a sample and disagree on different ones, in a learned space."""

    name = "crd"
    family = "B"
    paper = "Tian, Krishnan & Isola, Contrastive Representation Distillation, ICLR, 2020"
    equation = (
        "-log h(t_i, s_i) - sum_{y_j != y_i} log(1 - h(t_i, s_j)), h = e^{t.s/T} / (e^{t.s/T} + n Z), and "
        "s, t exchanged"
    )
    needs = frozenset({"features", "index"})
    Config = CRDConfig
    config: CRDConfig

    def make(self, pair: Pair) -> Contrast:
        """Create projections and queue."""
        h_s, h_t = pair.vectors(self.config.pooling)
        return Contrast(h_s.shape[1], h_t.shape[1], self.config.width, self.config.queue)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `crd/teacher` for every teacher."""
        if batch.index is None:
            raise ValueError(
                "crd needs the sample ids of the batch (Batch.index), to leave a sample out of its negatives"
            )
        config = self.config

        def term(pair: Pair) -> Tensor:
            h_s, h_t = pair.vectors(config.pooling)
            loss: Tensor = self.adapter(pair)(h_s, h_t, batch, config)
            return config.weight * loss

        return layer_terms("crd", config.layers, student, teachers, term)
