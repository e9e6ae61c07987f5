"""The graph over which `dmd` distils: edges from the modalities of one model to those of another, in one space.

    G = sum over edges i -> j of (w_ij + prior_ij) [a |f_i - f_j| + b (1 - cos(h_i, h_j))] + c |mean of w - prior|^2
    w = softmax over edges of v . tanh(W [f_j; h_j; f_i; h_i]) / 8

h: codes; f: what heads make of them; the mean is over the batch. Knows nothing of where codes come from.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.distillation.methods.numerics import unit

Prior = Literal["uniform", "authors"]
FAVOURED = {"common": ("text>video", "text>audio"), "private": ("text>video", "text>audio", "video>audio")}
"""The edges to which the authors' prior gives all but a few hundredths, by space."""
_SMOOTHING = 8.0


def edges_between(sources: tuple[str, ...], targets: tuple[str, ...]) -> list[str]:
    """Return the names `source>target` of all edges: target after target, and for each source after source."""
    return [f"{source}>{target}" for target in targets for source in sources]


def prior_of(edges: list[str], favoured: tuple[str, ...], prior: Prior) -> Tensor:
    """Return the prior [E] of edges called `source>target`; it sums to 1 unless there is none to favour.

    "authors": softmax of 4 for the favoured edges and 0 for the others, over the edges between different modalities; 0
    for edges from a modality to itself, which the authors have not.
    """
    if prior == "uniform":
        return torch.full((len(edges),), 1.0 / len(edges), dtype=torch.float64)
    crossing = torch.tensor([edge.partition(">")[0] != edge.partition(">")[2] for edge in edges])
    scores = torch.tensor([4.0 * (edge in favoured) for edge in edges], dtype=torch.float64)
    exponents = torch.where(crossing, scores.exp(), 0.0)
    return exponents / exponents.sum().clamp_min(1.0)


@dataclass
class Nodes:
    """One model's modalities in one space."""

    says: Tensor
    """[B, M, outputs], what the heads make of the codes."""
    codes: Tensor
    """[B, M, D]."""
    there: Tensor
    """bool [B, M]."""

    @property
    def described(self) -> Tensor:
        """[B, M, outputs + D]."""
        return torch.cat([self.says, self.codes], -1)


class Edges(nn.Module):
    """Weights of the edges from one model's modalities to another's, in one space."""

    prior: Tensor

    def __init__(self, described: int, hidden: int, prior: Tensor) -> None:
        super().__init__()
        self.target, self.source = nn.Linear(described, hidden), nn.Linear(described, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.register_buffer("prior", prior, persistent=False)

    def forward(self, targets: Nodes, sources: Nodes) -> tuple[Tensor, Tensor]:
        """Return the weights [B, E], which sum to 1 over a sample's edges, and which edges it has, bool [B, E].

        The edges stand in the order of `edges_between`.
        """
        pairs = self.target(targets.described).unsqueeze(2) + self.source(sources.described).unsqueeze(1)
        scores = self.score(pairs.tanh()).flatten(1) / _SMOOTHING
        there = (targets.there.unsqueeze(2) & sources.there.unsqueeze(1)).flatten(1)
        weights = torch.where(there, scores, -1e9).softmax(1)
        return torch.where(there, weights, 0.0), there


def graph(targets: Nodes, sources: Nodes, edges: Edges, weighing: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """Return G [B], the regulariser spread evenly over the batch, and the weights of the edges [B, E].

    Args:
        targets, sources: of the student and of the teacher.
        edges: gives the weights.
        weighing: factors of what the heads say, of the codes, and of the regulariser.
    """
    weights, there = edges(targets, sources)
    of_says, of_codes, of_regulariser = weighing
    said = (targets.says.unsqueeze(2) - sources.says.unsqueeze(1)).abs().sum(-1).flatten(1)
    turned = 1 - (unit(targets.codes).unsqueeze(2) * unit(sources.codes).unsqueeze(1)).sum(-1).flatten(1)
    distance = torch.where(there, of_says * said + of_codes * turned, 0.0)
    mean = weights.sum(0) / there.sum(0).clamp_min(1)
    regulariser = torch.where(there.any(0), mean - edges.prior, 0.0).square().sum()
    return ((weights + edges.prior) * distance).sum(1) + of_regulariser * regulariser, weights
