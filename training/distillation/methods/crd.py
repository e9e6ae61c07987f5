"""Tian, Krishnan & Isola, *Contrastive Representation Distillation*, ICLR 2020.

    nce:      L = -log h(t_i, s_i) - sum_{j in N_i} log(1 - h(t_i, s_j))
              h(t, s) = e^{t . s / T} / (e^{t . s / T} + n Z)
    infonce:  L = -log e^{t_i . s_i / T} / (e^{t_i . s_i / T} + sum_{j in N_i} e^{t_i . s_j / T})

plus the same with student and teacher exchanged. s, t: a learned linear projection of each side's feature, divided
by its norm; T: temperature; N_i: n samples other than i; Z: the mean of e^{t . s / T}, taken once from the first
batch.

The text writes N / M for n Z, M the number of training samples; the authors' code divides both sides by its
estimate Z M, which takes M out, and gives the form above. Their negatives come from memory banks of all M samples,
mixed with momentum. Here they are the other samples of the batch and a queue of the newest embeddings, whose size
is a hyper-parameter: memory and time don't depend on M, and no momentum is needed, as the queue is a few steps old.
Entries with the sample's own index are left out. `infonce` is the form of van den Oord et al. 2018, without Z.
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
        valid: [B, N], true where j is another sample than i.
        log_mean: log Z, a scalar.
    """
    offset = valid.sum(1).clamp_min(1).log() + log_mean
    against = functional.softplus(negative - offset.unsqueeze(1))
    return functional.softplus(offset - positive) + torch.where(valid, against, 0.0).sum(1)


def infonce(positive: Tensor, negative: Tensor, valid: Tensor) -> Tensor:
    """Return the loss [B]: cross entropy of the positive among the valid negatives; arguments as of `nce`."""
    scores = torch.cat([positive.unsqueeze(1), negative.masked_fill(~valid, -math.inf)], 1)
    return scores.logsumexp(1) - positive


class Contrast(nn.Module):
    """Projections of one pair of layers, and a queue of their newest embeddings."""

    students: Tensor
    teachers: Tensor
    indices: Tensor
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
        self.register_buffer("log_means", torch.zeros(2))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def forward(self, h_s: Tensor, h_t: Tensor, index: Tensor, form: Form, temperature: float) -> Tensor:
        """Return the loss [B] of vectors [B, D] with sample ids [B]; in training mode, remember them as negatives."""
        s, t = unit(self.project_student(h_s)), unit(self.project_teacher(h_t))
        ids = torch.cat([index, self.indices])
        valid = (ids != index.unsqueeze(1)) & (ids >= 0)
        positive = (s * t).sum(1) / temperature
        over_students = t @ torch.cat([s, self.students]).T / temperature
        over_teachers = s @ torch.cat([t, self.teachers]).T / temperature
        if form == "infonce":
            loss = infonce(positive, over_students, valid) + infonce(positive, over_teachers, valid)
        else:
            z_s, z_t = self._log_means(over_students, over_teachers, ids >= 0)
            loss = nce(positive, over_students, valid, z_s) + nce(positive, over_teachers, valid, z_t)
        if self.training:
            self._remember(s.detach(), t.detach(), index)
        return loss

    def _log_means(self, over_students: Tensor, over_teachers: Tensor, filled: Tensor) -> Tensor:
        """log Z of both directions, [2]: those of the first batch in training mode, ever after."""
        if self.ready:
            return self.log_means
        scores = torch.stack([over_students, over_teachers]).detach()[:, :, filled].flatten(1)
        means = scores.logsumexp(1) - math.log(scores.shape[1])
        if self.training:
            self.log_means, self.ready = means, torch.ones_like(self.ready)
        return means

    def _remember(self, s: Tensor, t: Tensor, index: Tensor) -> None:
        """Put the batch at the front of the queue, in new tensors: the old ones belong to the graph of the loss."""
        size = len(self.indices)
        self.students = torch.cat([s, self.students])[:size]
        self.teachers = torch.cat([t, self.teachers])[:size]
        self.indices = torch.cat([index, self.indices])[:size]


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
    queue: int = 2048
    """Embeddings remembered as negatives, beside those of the batch."""
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
        checks.choice(self, "pooling", ("mean", "flatten"))
        checks.number(self, "weight", least=0)


class CRD(Adapted):
    """Makes student and teacher agree on a sample and disagree on different ones, in a learned space."""

    name = "crd"
    family = "B"
    paper = "Tian, Krishnan & Isola, Contrastive Representation Distillation, ICLR, 2020"
    equation = (
        "-log h(t_i, s_i) - sum_{j != i} log(1 - h(t_i, s_j)), h = e^{t.s/T} / (e^{t.s/T} + n Z), and s, t exchanged"
    )
    needs = frozenset({"features", "index"})
    Config = CRDConfig
    config: CRDConfig

    @property
    def layers(self) -> Layers:
        """Pairs (student layer, teacher layer)."""
        return self.config.layers

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
        index, config = batch.index, self.config

        def term(pair: Pair) -> Tensor:
            h_s, h_t = pair.vectors(config.pooling)
            loss: Tensor = self.adapter(pair)(h_s, h_t, index, config.form, config.temperature)
            return config.weight * loss

        return layer_terms("crd", config.layers, student, teachers, term)
