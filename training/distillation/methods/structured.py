"""Distillation over a structure: what `graph` and `hypergraph` share, which is everything but the structure.

    L = mean over k of sum_e (w_ke + prior_e) d_ke + regularity ||mean over the batch of (w_k - prior)||^2
    d_ke = logit_weight d(p_e, q_k) + feature_weight d(u_e, P_ke h_k),    d(x, y) = 1 - cos(x, y)
    w_ke = softmax over e of v . tanh(A_k [log q_k; h_k / |h_k|] + B_e [log p_e; u_e]) / 8

k: a stream of the student (`training.distillation.methods.streams`), q_k its answer and h_k its feature; e: an edge
or hyperedge; p_e, u_e: the answer and the direction that arrive over it at an utterance, which the structure makes of
the teachers' streams by averaging: mixtures of their probabilities, and means of their features divided by their norm,
since lengths don't count in d. Streams of different widths are laid side by side. P: learned projections; prior:
uniform, or given. `edges` chooses who weighs: w as above (`learned`), the prior alone (`uniform`), or a weigher of
family D that is asked with the edges as its teachers (`weigher`). A node's weights, w + prior, sum to 2 in each case.

Terms of streams that the student lacks for a sample are 0, and the weight of an edge over which nothing arrives goes to
the sample's others.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.adapted import placed, regressor
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.numerics import kl, unit
from training.distillation.methods.responses import require_teachers
from training.distillation.methods.streams import (
    LAYER,
    Streams,
    among_present,
    answers_of,
    apart,
    own_streams,
    presence,
    shown,
    streams_of,
    sureness,
    there,
)
from training.distillation.outputs import Batch, Output


def edge_scores(own: Tensor, arriving: Tensor, v: Tensor) -> Tensor:
    """Return v . tanh(own + arriving_e), [B, E], for codes [B, W] of a node and [B, E, W] of its edges."""
    return torch.tanh(own.unsqueeze(1) + arriving) @ v


@dataclass(frozen=True)
class StructuredConfig:
    """Hyper-parameters of `graph` and `hypergraph`."""

    edges: Literal["learned", "uniform", "weigher"] = "learned"
    """Who weighs the edges of a sample: weights of the method's own, nobody, or the method's weigher."""
    prior: Literal["uniform"] | dict[str, float] = "uniform"
    """What the weights are drawn to: `uniform`, or a number for every edge by its name; the numbers are divided by
    their sum."""
    smoothing: float = 0.5
    """Part of what arrives that comes from the whole context, the node itself included; the rest is the node alone."""
    distance: Literal["cosine", "kl"] = "cosine"
    """Between answers: 1 - cos of what arrives and of the node; or T^2 KL of what arrives and of the student's answers
    averaged over the same context."""
    temperature: float = 1.0
    """T of the answers in either distance."""
    logit_weight: float = 10.0
    """Factor of the answers' distance, the authors'."""
    feature_weight: float = 1.0
    """Factor of the features' distance, the authors'."""
    regularity: float = 10.0
    """How hard the mean of learned weights over a batch is drawn to the prior, the authors'; the samples' own may still
    differ. 0: not at all."""
    sharpness: float = 0.125
    """Factor of the scores before the softmax of learned weights, the authors'."""
    width: int = 32
    """Dimensions in which nodes and edges are read for learned weights."""
    reliability: float = 0.0
    """Least sureness 1 - H / log C of what an edge says; less sure edges count as absent for the sample."""

    def __post_init__(self) -> None:
        checks.choice(self, "edges", ("learned", "uniform", "weigher"))
        checks.choice(self, "distance", ("cosine", "kl"))
        checks.number(self, "temperature", above=0)
        checks.count(self, "width")
        for field in ("smoothing", "logit_weight", "feature_weight", "regularity", "sharpness", "reliability"):
            checks.number(self, field, least=0)
        for field in ("smoothing", "reliability"):
            if getattr(self, field) > 1:
                raise ValueError(f"{field} must be at most 1, got {getattr(self, field)!r}")
        if isinstance(self.prior, str):
            checks.choice(self, "prior", ("uniform",))
        elif not self.prior or min(self.prior.values()) <= 0:
            raise ValueError(f"prior must be 'uniform', or have a number above 0 for every edge, got {self.prior!r}")


class Structured(Method):
    """Teaches every stream of the student by what arrives over the edges of a structure."""

    family = "E"
    needs = frozenset({"logits", "features"})
    scaled = ("logit_weight", "feature_weight")
    Config = StructuredConfig
    config: StructuredConfig

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        self.projections = nn.ModuleDict()
        self.readers = nn.ModuleDict()
        self._edges: tuple[str, ...] = ()
        self._weights: dict[str, Tensor] = {}

    @abstractmethod
    def arriving(self, streams: Streams, unit: Tensor | None) -> dict[str, Output]:
        """Return what arrives over every edge at every utterance, of the teachers' streams; `unit` as in Batch."""

    @abstractmethod
    def in_context(self, x: Tensor, present: Tensor, unit: Tensor | None) -> Tensor:
        """Return x [B, D] of the nodes of a stream that are `present` [B], averaged over their context; 0 elsewhere."""

    @abstractmethod
    def has_context(self, edge: str) -> bool:
        """Whether what arrives over the edge is averaged over a context."""

    @property
    def weighs_sources(self) -> bool:
        """Whether the edges have a weigher."""
        return self.config.edges == "weigher"

    def sources(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Mapping[str, Output]:
        """Return what arrives over every edge where a weigher is to weigh the edges, else the teachers."""
        return self._arriving(teachers, batch.unit) if self.weighs_sources else teachers

    def edge_weights(self) -> dict[str, Tensor]:
        """Return w of the last call, `edge>stream` -> [B]; over the edges of a stream they sum to 1."""
        return self._weights

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create projections, and what reads nodes and edges.

        Raises:
            ValueError: the teachers have fewer than two streams in all, classes differ, or the prior lacks an edge.
        """
        streams, edges = own_streams(student), self._arriving(teachers, None)
        self._edges = tuple(edges)
        if not isinstance(self.config.prior, str) and set(self.config.prior) != set(edges):
            raise ValueError(f"{self.name}: the edges are {', '.join(edges)}; prior has {', '.join(self.config.prior)}")
        for stream, own in streams.items():
            for edge, source in edges.items():
                widths = own.features[LAYER].shape[1], source.features[LAYER].shape[1]
                self.projections[_key(stream, edge)] = placed(regressor(*widths), own.features[LAYER])
        if self.config.edges == "learned":
            for name, output in (*streams.items(), *edges.items()):
                self.readers[_key(name)] = placed(nn.Linear(_read(output).shape[1], self.config.width), _read(output))
            v = torch.randn(self.config.width) / self.config.width**0.5
            self.v = nn.Parameter(v.to(next(self.readers.parameters())))

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `method/edge` for every edge where a weigher weighs them, else `method`, and with learned weights
        `method_prior`, which holds them to the prior."""
        streams, edges = own_streams(student), self._arriving(teachers, batch.unit)
        if tuple(edges) != self._edges:
            built = ", ".join(self._edges) or "nothing; call build(student, teachers) once"
            raise ValueError(f"{self.name} was built for {built}, and now the edges are {', '.join(edges)}")
        distances, count = self._distances(streams, edges, batch.unit), presence(streams).sum(1).clamp_min(1)
        if self.weighs_sources:
            per_edge = 2 * distances.sum(1) / count.unsqueeze(1)
            return {f"{self.name}/{edge}": per_edge[:, e] for e, edge in enumerate(edges)}
        prior = self._prior(edges, distances)
        weights = self._weigh(streams, edges, prior)
        names = [f"{edge}>{stream}" for stream in streams for edge in edges]
        self._weights = dict(zip(names, weights.detach().flatten(1).unbind(1), strict=True))
        terms = {self.name: ((weights + prior.unsqueeze(1)) * distances).sum((1, 2)) / count}
        if self.config.edges == "learned":
            drawn = (weights - prior.unsqueeze(1)).mean(0).square().sum(1).mean()
            terms[f"{self.name}_prior"] = self.config.regularity * drawn.expand(len(weights))
        return terms

    def _arriving(self, teachers: Mapping[str, Output], unit: Tensor | None) -> dict[str, Output]:
        """What arrives over the edges, less what is not reliable; refuses teachers that make no structure."""
        require_teachers(self.name, teachers)
        streams = {key: s for name, teacher in teachers.items() for key, s in streams_of(name, teacher).items()}
        if len(streams) < 2:
            (name,) = teachers
            raise ValueError(
                f"{self.name} needs two or more streams to have edges between, and {name!r} is one, with the features "
                f"{', '.join(teachers[name].features)}: take a teacher that gives 'text', 'text.logits' and so on for "
                "its modalities, or several teachers"
            )
        edges = self.arriving(streams, unit)
        for edge in edges.values():
            said = answers_of(edge)
            reliable = there(edge, said) & (sureness(said) >= self.config.reliability)
            edge.present = shown(reliable, said)
        return edges

    def _distances(self, streams: Streams, edges: Streams, unit: Tensor | None) -> Tensor:
        """[B, K, E]; 0 where the node or the edge is not there."""
        answers = self._answers_apart(streams, edges, unit)
        features = [
            apart(self.projections[_key(k, name)](own.features[LAYER]), edge.features[LAYER])
            for k, own in streams.items()
            for name, edge in edges.items()
        ]
        apart_by = torch.stack(features, dim=1).view_as(answers)
        distances = self.config.logit_weight * answers + self.config.feature_weight * apart_by
        return torch.where(presence(streams).unsqueeze(2) & presence(edges).unsqueeze(1), distances, 0.0)

    def _answers_apart(self, streams: Streams, edges: Streams, unit: Tensor | None) -> Tensor:
        """[B, K, E]."""
        own, arriving = (torch.stack([answers_of(x) for x in outputs.values()], dim=1) for outputs in (streams, edges))
        if own.shape[::2] != arriving.shape[::2]:
            raise ValueError(
                f"{self.name}: the student answers {own.shape[0]} samples in {own.shape[2]} classes, and what arrives "
                f"is of {arriving.shape[0]} in {arriving.shape[2]}; both need the same in the same order"
            )
        own, arriving, temperature = own.unsqueeze(2), arriving.unsqueeze(1), self.config.temperature
        if self.config.distance == "cosine":
            return apart((own / temperature).softmax(-1), (arriving / temperature).softmax(-1))
        # Of streams that are not there nothing is used.
        averaged = [self.in_context(answers_of(k).softmax(-1), there(k, own), unit) for k in streams.values()]
        smallest = torch.finfo(own.dtype).tiny
        in_context = torch.stack(averaged, dim=1).clamp_min(smallest).log().unsqueeze(2)
        contextual = torch.tensor([self.has_context(edge) for edge in edges], device=own.device).unsqueeze(1)
        student = torch.where(contextual, in_context, own.log_softmax(-1))
        return temperature**2 * kl(arriving / temperature, student / temperature)

    def _prior(self, edges: Streams, like: Tensor) -> Tensor:
        """[B, E]; among the edges over which something arrives."""
        given = self.config.prior
        numbers = [1.0 if isinstance(given, str) else given[edge] for edge in edges]
        shares = torch.tensor(numbers, dtype=like.dtype, device=like.device) / sum(numbers)
        return among_present(shares.expand(len(like), -1), edges)

    def _weigh(self, streams: Streams, edges: Streams, prior: Tensor) -> Tensor:
        """w, [B, K, E]."""
        if self.config.edges == "uniform":
            return prior.unsqueeze(1).expand(-1, len(streams), -1)
        codes = torch.stack([self.readers[_key(name)](_read(edge)) for name, edge in edges.items()], dim=1)
        scores = [edge_scores(self.readers[_key(k)](_read(own)), codes, self.v) for k, own in streams.items()]
        return torch.stack([among_present((self.config.sharpness * s).softmax(1), edges) for s in scores], dim=1)


def _read(output: Output) -> Tensor:
    """What the weights of a node's edges are made of: log probabilities and direction, [B, C + D]."""
    return torch.cat([answers_of(output).log_softmax(-1), unit(output.features[LAYER])], dim=1)


def _key(*names: str) -> str:
    """A ModuleDict takes no dots."""
    return ">".join(names).replace(".", "%2E")
