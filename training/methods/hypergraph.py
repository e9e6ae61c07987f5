"""Hypergraphs in the place of the graph of `graph`: knowledge flows over edges that join more than two streams.

After Feng, You, Zhang, Ji & Gao, *Hypergraph Neural Networks*, AAAI 2019; hyperedges as in Chen, Shi, Wang & Luo,
*M3NET*, CVPR 2023; the answers' distance `kl` as in Feng, Luo, Ying & Gao, *LightHGNN*, ICLR 2024 (LightHGNN+).

    X' = D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 X,    message of hyperedge e: m_e = D_e^-1 H^T X at e
    L_k = sum_e (w_e + prior_e) [10 d(logits) + 1 d(features)] + 10 ||mean w - prior||^2,    d = 1 - cos

Nodes: (utterance, stream of a teacher). Hyperedges: `stream.context`, one a conversation and stream, with all its
utterances; and `utterance`, one an utterance, with all streams. X: answers and directions of the nodes. Every node is
in one hyperedge of either kind, so D_v = 2 I and X' is the weighted sum of what the hyperedges tell a node: the mean
m_e of their members. Here the messages are not summed and then matched, but each is matched with its weight w_e, which
so takes the place of W, for every sample and stream k of the student at the utterance. Over `stream.context` arrives

    (1 - s) x + s m_e,    s = `smoothing`,

the node's own answer drawn to its conversation; over `utterance` the mean of its streams. All other symbols, and all
options, are those of `graph` (`training.methods.structured`), which differs from this in nothing but the structure.

With `distance = "kl"` the student's answers are averaged over the context as well, and hyperedges compared:
KL(teachers' ‖ student's), on those that are reliable, which are here the sure ones (`reliability`), as the authors'
measure, how answers change when the inputs are disturbed, needs the teacher's net. Their code passes probabilities
where logarithms are expected (`log_target`), so that the optimum is another distribution than the teacher's; here the
KL is that of the formula, a sum over classes. Where it differs from Luo's code is said in `graph`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from training.methods.streams import Streams, as_output, classes_of, knowledge, there
from training.methods.structured import Structured, StructuredConfig
from training.outputs import Output

if TYPE_CHECKING:
    from training.models.hypergraph import IndexedHypergraph, MultimodalHypergraph

UTTERANCE = "utterance"


def messages(x: Tensor, hypergraph: "IndexedHypergraph") -> Tensor:
    """Return D_e^-1 H^T X, [E, D], of nodes [N, D]: the mean over every hyperedge's members, 0 for an empty one."""
    members, edges = hypergraph.pairs
    sizes = x.new_zeros(hypergraph.num_e).index_add(0, edges, x.new_ones(len(edges)))
    # dhg's own mean multiplies by the degree when connections have weights, and without any it is float32 alone.
    total: Tensor = hypergraph.v2e(x, "sum", v2e_weight=x.new_ones(len(members)), e_weight=torch.ones_like(sizes))
    return total / sizes.clamp_min(1).unsqueeze(1)


def side_by_side(nodes: Sequence[Tensor], classes: int) -> Tensor:
    """Return knowledge of S streams, each [B, C + D_s], as [B, S, C + sum of D]: answers first, each stream's direction
    in columns of its own."""
    widths = [x.shape[1] - classes for x in nodes]
    before = [sum(widths[:s]) for s in range(len(widths))]
    blocks = [
        torch.cat([x[:, :classes], functional.pad(x[:, classes:], (start, sum(widths) - start - width))], dim=1)
        for x, start, width in zip(nodes, before, widths, strict=True)
    ]
    return torch.stack(blocks, dim=1)


class Hypergraph(Structured):
    """Hyperedges: all utterances of a conversation in one stream, and all streams of one utterance."""

    name = "hypergraph"
    paper = (
        "after Feng, You, Zhang, Ji & Gao, Hypergraph Neural Networks, AAAI, 2019; hyperedges as in Chen et al., "
        "M3NET, CVPR, 2023; KL as in Feng et al., LightHGNN, ICLR, 2024"
    )
    equation = (
        "sum_e (w_e + prior_e) [10 d(logits, m_e) + d(features, m_e)] + 10 |mean w - prior|^2, m = D_e^-1 H^T X, "
        "d = 1 - cos"
    )
    Config = StructuredConfig
    config: StructuredConfig

    def arriving(self, streams: Streams, unit: Tensor | None) -> dict[str, Output]:
        """Return what `stream.context` and `utterance` tell."""
        nodes = [knowledge(stream) for stream in streams.values()]
        classes = classes_of(streams)
        present = torch.stack([there(stream, x) for stream, x in zip(streams.values(), nodes, strict=True)], dim=1)
        structure = _structure(present, unit)
        told = messages(structure.gather(side_by_side(nodes, classes)), structure.hypergraph)
        edges, start = {}, classes
        for s, (name, x) in enumerate(zip(streams, nodes, strict=True)):
            end = start + x.shape[1] - classes
            context = told[structure.edges[:, s]]
            mean = torch.cat([context[:, :classes], context[:, start:end]], dim=1)
            edges[f"{name}.context"] = as_output(self._drawn(x, mean), classes, present[:, s])
            start = end
        edges[UTTERANCE] = as_output(told[structure.edges[:, -1]], classes, present.any(1))
        return edges

    def in_context(self, edge: str, x: Tensor, present: Tensor, unit: Tensor | None) -> Tensor:
        """Return x [B, D] drawn to the mean of its conversation; over `utterance` as it is."""
        if edge == UTTERANCE:
            return x
        structure = _structure(present.unsqueeze(1), unit)
        mean = messages(structure.gather(x.unsqueeze(1)), structure.hypergraph)[structure.edges[:, 0]]
        return torch.where(present.unsqueeze(1), self._drawn(x, mean), 0.0)

    def _drawn(self, x: Tensor, mean: Tensor) -> Tensor:
        return (1 - self.config.smoothing) * x + self.config.smoothing * mean


def _structure(present: Tensor, unit: Tensor | None) -> "MultimodalHypergraph":
    """The hypergraph of B utterances and S streams of which `present` [B, S] are there."""
    from training.models.hypergraph import MultimodalHypergraph  # dhg is slow to import, and not for other methods.

    alone = torch.arange(len(present), device=present.device)
    return MultimodalHypergraph.of(present.float(), alone if unit is None else unit)
