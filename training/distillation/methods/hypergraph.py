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

the node's own answer drawn to its conversation; over `utterance` the mean of its streams: of their probabilities, and
of their directions in columns of their own, as widths differ, which is all directions side by side. All other symbols,
and all options, are those of `graph` (`structured`), which differs from this in nothing but the
structure. Where an utterance stands alone, as windows do, a conversation has nothing to draw to, a graph has no
neighbours either, and the two differ by the hyperedge `utterance` alone.

With `distance = "kl"` the student's answers are averaged over the context as well, and hyperedges compared:
KL(teachers' ‖ student's), on those that are reliable, which are here the sure ones (`reliability`), as the authors'
measure, how answers change when the inputs are disturbed, needs the teacher's net. Their code passes probabilities
where logarithms are expected (`log_target`), so that the optimum is another distribution than the teacher's; here the
KL is that of the formula, a sum over classes. Where it differs from Luo's code is said in `graph`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.distillation.methods.streams import Streams, as_output, classes_of, knowledge, there
from training.distillation.methods.structured import Structured, StructuredConfig
from training.distillation.outputs import Output

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
        classes, edges, nodes, presence = classes_of(streams), {}, [], []
        for name, stream in streams.items():
            x = knowledge(stream)
            present = there(stream, x)
            edges[f"{name}.context"] = as_output(self.in_context(x, present, unit), classes, present)
            nodes.append(x)
            presence.append(present)
        structure = _structure(torch.stack(presence, dim=1), unit)
        answers = structure.gather(torch.stack([x[:, :classes] for x in nodes], dim=1))
        told = messages(answers, structure.hypergraph)[structure.edges[:, -1]]
        beside = torch.cat([told, *(x[:, classes:] for x in nodes)], dim=1)
        edges[UTTERANCE] = as_output(beside, classes, torch.stack(presence).any(0))
        return edges

    def in_context(self, x: Tensor, present: Tensor, unit: Tensor | None) -> Tensor:
        """Return x [B, D] drawn to the mean of its conversation; 0 where it is not present."""
        structure = _structure(present.unsqueeze(1), unit)
        mean = messages(structure.gather(x.unsqueeze(1)), structure.hypergraph)[structure.edges[:, 0]]
        part = self.config.smoothing
        return torch.where(present.unsqueeze(1), (1 - part) * x + part * mean, 0.0)

    def has_context(self, edge: str) -> bool:
        """All but that of the utterance."""
        return edge != UTTERANCE


def _structure(present: Tensor, unit: Tensor | None) -> "MultimodalHypergraph":
    """The hypergraph of B utterances and S streams of which `present` [B, S] are there."""
    from training.models.hypergraph import MultimodalHypergraph  # dhg is slow to import, and not for other methods.

    alone = torch.arange(len(present), device=present.device)
    return MultimodalHypergraph.of(present.float(), alone if unit is None else unit)
