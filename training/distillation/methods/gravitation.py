"""After Li 2025, the gravitational distillation of the survey (Li, *An Analysis of Knowledge Distillation Methods for
Sentiment Analysis*, AJST 2026, [8] there). Its text was not available: this is a method of its kind, made from what is
known of it, pairwise transfer by gravitation over the whole batch and all modalities, and from its lineage, the
cognitive gravitation model, F = G I_1 I_2 / d^2 with I = -log2 p. It is not its reproduction.

    L_k,i = sum over j, s of w_ki,sj [T^2 KL(p_sj || q_ki) + feature d^2(P_ks h_ki, h_sj) / 2]
    w_ki,sj = (1 - own) F_ki,sj / sum F_ki + own [j = i] / S_i
    F_ki,sj = I_ki I_sj / (d^2(P_ks h_ki, h_sj) + softening^2),    I = log2 C - H(p)

k, i: a stream of the student (`streams`) for sample i, and q, h its answer and feature; s, j: a stream
of the teacher for any sample j of the batch, its answer p and feature h; d: distance of features divided by their norm,
so d^2 / 2 = 1 - cos; P: learned projections; S_i: streams that the teacher has for sample i; T: temperature of both
answers.

Mass I is the information in an answer, in bits: how much it says beyond knowing nothing, KL(p || uniform). The
lineage's surprisal of the label would give most mass to the teacher's stream that is most mistaken. The student's own
mass I_ki, and G, are the same for all that attract a node, and cancel where its forces are divided by their sum. A
stream that knows nothing attracts nobody. Softening, as in simulations of many bodies, keeps the force finite where
bodies meet. Gravitation alone may settle anywhere, at the teacher's mean answer for instance, where all distances are
alike; so a part of every node's weight, `own`, stays with its own sample.

No code of the authors was found. Memory grows with the square of the batch, and not with the data set.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.adapted import placed, regressor
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.numerics import unit
from training.distillation.methods.responses import require_teachers
from training.distillation.methods.streams import (
    LAYER,
    Streams,
    answers_of,
    classes_of,
    own_streams,
    presence,
    streams_of,
    there,
)
from training.distillation.outputs import Batch, Output


def information(logits: Tensor) -> Tensor:
    """Return log2 C - H of the answers, in bits, [B]."""
    log_p = logits.log_softmax(-1) / math.log(2)
    return (math.log2(logits.shape[-1]) + (logits.softmax(-1) * log_p).sum(-1)).clamp_min(0)


def pairwise_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(softmax(teacher_j) || softmax(student_i)), [B, B'], row i, of logits [B', C] and [B, C]."""
    log_p, log_q = teacher.log_softmax(-1), student.log_softmax(-1)
    p = log_p.exp()
    return (p * log_p).sum(-1) - log_q @ p.T


def shares(force: Tensor, own: Tensor, part: float) -> Tensor:
    """Return the weights [B, N] of forces [B, N]: divided by their sum, and `part` of them even over `own` [B, N].

    A node without any force keeps the even part alone.
    """
    total = force.sum(1, keepdim=True)
    drawn = force / torch.where(total > 0, total, 1.0)
    return (1 - part) * drawn + part * own.to(force.dtype) / own.sum(1, keepdim=True).clamp_min(1)


@dataclass(frozen=True)
class Bodies:
    """The S streams of a teacher for the B samples of a batch, N = S B in all, stream after stream."""

    directions: dict[str, Tensor]
    """By stream, [B, D] of length 1."""
    logits: Tensor
    """[N, C]."""
    mass: Tensor
    """[N], in bits; 0 where a sample lacks the stream."""
    own: Tensor
    """Bool [B, N]: which belong to each sample, of those that are there."""

    @classmethod
    def of(cls, streams: Streams) -> "Bodies":
        """Read what attracts."""
        logits, present = torch.cat([answers_of(stream) for stream in streams.values()]), presence(streams)
        return cls(
            {name: unit(stream.features[LAYER]) for name, stream in streams.items()},
            logits,
            torch.where(present.T.flatten(), information(logits), 0.0),
            torch.cat([torch.diag(column) for column in present.unbind(1)], dim=1),
        )


@dataclass(frozen=True)
class GravitationConfig:
    """Hyper-parameters of `gravitation`."""

    temperature: float = 4.0
    """T: above 1, the wrong classes' likeness counts more."""
    own: float = 0.5
    """Part of a node's weights that its own sample's streams have in any case, in [0, 1]."""
    softening: float = 0.1
    """Distance within which the force no longer grows much; features have length 1."""
    response: float = 1.0
    """Factor of the answers' part."""
    feature: float = 1.0
    """Factor of the features' part."""

    def __post_init__(self) -> None:
        checks.number(self, "temperature", above=0)
        checks.number(self, "softening", above=0)
        for field in ("own", "response", "feature"):
            checks.number(self, field, least=0)
        if self.own > 1:
            raise ValueError(f"own must be at most 1, got {self.own!r}")


class Gravitation(Method):
    """Draws every stream of the student to all that is known in the batch, by information and distance."""

    name = "gravitation"
    family = "E"
    paper = (
        "after Li, 2025 (text not available), as surveyed in Li, An Analysis of Knowledge Distillation Methods for "
        "Sentiment Analysis, AJST, 2026, with the force of the cognitive gravitation model"
    )
    equation = (
        "sum_j,s w_sj [T^2 KL(p_sj || q_i) + 1 - cos(P h_i, h_sj)], w = I_i I_sj / d^2 divided by its sum, "
        "I = log2 C - H(p)"
    )
    needs = frozenset({"logits", "features"})
    scaled = ("response", "feature")
    Config = GravitationConfig
    config: GravitationConfig

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        self.projections = nn.ModuleDict()
        self._weights: dict[str, Tensor] = {}

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create the projections; raises ValueError for outputs without streams, or with different classes."""
        require_teachers(self.name, teachers)
        streams = own_streams(student)
        for name, teacher in teachers.items():
            bodies = streams_of(name, teacher)
            classes_of({**streams, **bodies})
            for stream, own in streams.items():
                for body, theirs in bodies.items():
                    widths = own.features[LAYER].shape[1], theirs.features[LAYER].shape[1]
                    self.projections[_key(stream, body)] = placed(regressor(*widths), own.features[LAYER])

    def edge_weights(self) -> dict[str, Tensor]:
        """Return how much of its weights each node of the last call had over the batch, `teacher.stream>stream` -> [B].

        They sum to 1 over the streams of a teacher.
        """
        return self._weights

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `gravitation/teacher` for every teacher."""
        require_teachers(self.name, teachers)
        streams, terms = own_streams(student), {}
        self._weights = {}
        for name, teacher in teachers.items():
            bodies = Bodies.of(streams_of(name, teacher))
            drawn = torch.stack([self._drawn(stream, own, bodies) for stream, own in streams.items()])
            terms[f"{self.name}/{name}"] = drawn.sum(0) / presence(streams).sum(1).clamp_min(1)
        return terms

    def _drawn(self, stream: str, own: Output, bodies: Bodies) -> Tensor:
        """What draws one of the student's streams to a teacher's, [B]; 0 where the sample lacks the stream."""
        config = self.config
        present = there(own, answers_of(own))
        apart = torch.cat([1 - self._cosines(stream, own, name, x) for name, x in bodies.directions.items()], dim=1)
        answers = pairwise_kl(bodies.logits / config.temperature, answers_of(own) / config.temperature)
        weights = shares(bodies.mass / (2 * apart + config.softening**2), bodies.own, config.own)
        split = weights.detach().view(len(weights), len(bodies.directions), -1).sum(2)
        split = torch.where(present.unsqueeze(1), split, 0.0)
        self._weights |= {f"{name}>{stream}": split[:, s] for s, name in enumerate(bodies.directions)}
        transfers = config.response * config.temperature**2 * answers + config.feature * apart
        return torch.where(present, (weights * transfers).sum(1), 0.0)

    def _cosines(self, stream: str, own: Output, name: str, directions: Tensor) -> Tensor:
        if _key(stream, name) not in self.projections:
            raise ValueError(f"{self.name} was built without {name} for {stream!r}; build it with all outputs")
        return unit(self.projections[_key(stream, name)](own.features[LAYER])) @ directions.T


def _key(stream: str, body: str) -> str:
    """A ModuleDict takes no dots."""
    return f"{stream}>{body}".replace(".", "%2E")
