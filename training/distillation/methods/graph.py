"""Luo, Hsieh, Jiang, Niebles & Fei-Fei, *Graph Distillation for Action Detection with Privileged Modalities*, ECCV
2018.

    L_k = sum_j (e_j + prior_j) [10 d(logits) + 1 d(features)] + 10 ||mean e - prior||^2,    d = 1 - cos
    e = softmax_j(W [z_k; z_j] / 8)
    x_j <- (1 - s) x_j + s D^-1/2 (A + I) D^-1/2 x_j

k: a stream of the student; j: one of the teachers' streams at the same utterance, which sends its answer and feature
over the edge j -> k. The symbols of the loss are those of `structured`. The third line is what a
conversation adds to the paper, whose clips stand alone: before a stream is sent, it is smoothed over a graph that joins
each utterance with the `context` utterances before it and after it in the same modality and conversation, by a graph
convolution without parameters (Kipf & Welling 2017); D: degrees of A + I; s: `smoothing`. `context = 0`, or s = 0, is
the graph of the paper.

Where this differs from the authors' code, beside that: there d compares raw logits, which mean the same when a number
is added to all of them while their cosine does not, so here it compares probabilities; and there the score is a linear
function of [z_k; z_j], whose part of z_k is the same for every j and cancels in the softmax, so that the student has no
say in its weights; the tanh between keeps it. Their prior comes from validation accuracies, here it is uniform unless
given. The regulariser of weight 10 holds the mean weights to the prior whatever is learned: `regularity` sets it.
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.streams import Streams, as_output, classes_of, knowledge, there
from training.distillation.methods.structured import Structured, StructuredConfig
from training.distillation.outputs import Output


def neighbours(present: Tensor, unit: Tensor | None, context: int) -> Tensor:
    """Return the edges int64 [2, M] between rows that are `present` [B], both ways, and from each to itself.

    Rows are joined that are at most `context` rows apart and in the same `unit` [B]; None: every row is alone.
    """
    own = present.nonzero().squeeze(1)
    pairs = [torch.stack([own, own])]
    for distance in range(1, min(context, len(present) - 1) + 1 if unit is not None else 1):
        assert unit is not None
        joined = (unit[distance:] == unit[:-distance]) & present[distance:] & present[:-distance]
        earlier = joined.nonzero().squeeze(1)
        pairs += [torch.stack([earlier, earlier + distance]), torch.stack([earlier + distance, earlier])]
    return torch.cat(pairs, dim=1)


def smoothed(x: Tensor, present: Tensor, unit: Tensor | None, context: int, part: float) -> Tensor:
    """Return (1 - part) x + part D^-1/2 (A + I) D^-1/2 x of rows [B, D]; 0 where a row is not `present`."""
    spread: Tensor = _convolution()(x, neighbours(present, unit, context))
    return torch.where(present.unsqueeze(1), (1 - part) * x + part * spread, 0.0)


@dataclass(frozen=True)
class GraphConfig(StructuredConfig):
    """Hyper-parameters of `graph`."""

    context: int = 2
    """Utterances before and after one that its streams are smoothed with; 0: none, the graph of the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.count(self, "context", least=0)


class Graph(Structured):
    """Pairwise edges: from every stream of the teachers to every stream of the student."""

    name = "graph"
    paper = (
        "Luo, Hsieh, Jiang, Niebles & Fei-Fei, Graph Distillation for Action Detection with Privileged Modalities, "
        "ECCV, 2018"
    )
    equation = (
        "sum_j (e_j + prior_j) [10 d(logits) + d(features)] + 10 |mean e - prior|^2, d = 1 - cos, "
        "e = softmax_j(v . tanh(A z_k + B z_j) / 8)"
    )
    Config = GraphConfig
    config: GraphConfig

    def arriving(self, streams: Streams, unit: Tensor | None) -> dict[str, Output]:
        """Return the smoothed streams by their own names."""
        edges, classes = {}, classes_of(streams)
        for name, stream in streams.items():
            x = knowledge(stream)
            present = there(stream, x)
            edges[name] = as_output(self.in_context(x, present, unit), classes, present)
        return edges

    def in_context(self, x: Tensor, present: Tensor, unit: Tensor | None) -> Tensor:
        """Return x [B, D] smoothed over its neighbours; 0 where it is not present."""
        return smoothed(x, present, unit, self.config.context, self.config.smoothing)

    def has_context(self, edge: str) -> bool:
        """Every edge has."""
        return True


@cache
def _convolution() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Of its use of torch.jit.
        from torch_geometric.nn.conv import LGConv  # Slow to import, and not wanted by other methods.
    return LGConv()
