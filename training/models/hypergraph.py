"""Hypergraphs over the utterances and modalities of a batch, and the convolution that knowledge flows over them with.

Feng, You, Zhang, Ji & Gao, *Hypergraph Neural Networks*, AAAI 2019; hyperedges as in Chen, Shi, Wang & Luo, *M3NET:
Multivariate, Multi-Frequency and Multimodal: Rethinking Graph Neural Networks for Emotion Recognition in
Conversation*, CVPR 2023.

    X' = D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 X Theta,    D_v = diag(H w),  D_e = diag(H^T 1),  W = diag(w)

The type and the two halves of the message passing are dhg's. What dhg 0.9.7 lacks is here: making a hypergraph from
index tensors (dhg goes through Python lists, one hyperedge at a time, and merges hyperedges with the same nodes), one
without nodes or without hyperedges, other floats than float32, and degrees D_v of learned weights w. Its own
`smoothing_with_HGNN` takes constant weights only; and its mean over a hyperedge multiplies by the degree instead of
dividing by it when connections have weights, so the division is done here.

Knows neither what a node holds nor what the result is for.
"""

from dataclasses import dataclass
from typing import Final

import torch
from dhg import Hypergraph
from torch import Tensor, nn

from contract.labels import MODALITIES

KINDS: Final = (*MODALITIES, "utterance")
"""Of hyperedges: the utterances of a conversation in one modality, or the modalities of one utterance."""


class IndexedHypergraph(Hypergraph):  # type: ignore[misc]  # dhg has no types
    """dhg's hypergraph, made from pairs of indices; hyperedges keep their numbers, even when equal or empty."""

    def __init__(self, nodes: int, hyperedges: int, pairs: Tensor) -> None:
        """Make a hypergraph.

        Args:
            nodes: their number N.
            hyperedges: their number E.
            pairs: int64 [2, P]; node `pairs[0, p]` is in hyperedge `pairs[1, p]`; no pair twice.
        """
        self.size = (nodes, hyperedges)  # first, as dhg asks for them
        self.pairs = pairs
        super().__init__(max(nodes, 1), device=pairs.device)

    @property
    def num_v(self) -> int:
        """N."""
        return self.size[0]

    @property
    def num_e(self) -> int:
        """E."""
        return self.size[1]

    @property
    def H(self) -> Tensor:  # noqa: N802  # dhg's name
        """The incidence matrix, sparse float32 [N, E]."""
        if "H" not in self.cache:
            ones = torch.ones(self.pairs.shape[1], device=self.pairs.device)
            with torch.sparse.check_sparse_tensor_invariants(enable=True):  # type: ignore[no-untyped-call]
                self.cache["H"] = torch.sparse_coo_tensor(self.pairs, ones, self.size).coalesce()
        incidence: Tensor = self.cache["H"]
        return incidence


def smooth(x: Tensor, hypergraph: Hypergraph, weights: Tensor | None = None) -> Tensor:
    """Return D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 X, differentiable twice in X and in the weights.

    A node that is in no hyperedge gets zeros; an empty hyperedge has no effect.

    Args:
        x: [N, D], any float type.
        hypergraph: of N nodes and E hyperedges.
        weights: [E], not negative; None: 1 for every hyperedge.
    """
    if hypergraph.num_e == 0:
        return x * 0.0
    # Checked when the hypergraph was made.
    with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
        node, edge = hypergraph.e2v_dst, hypergraph.e2v_src
        sizes = x.new_zeros(hypergraph.num_e).index_add(0, edge, x.new_ones(len(edge)))
        if weights is None:
            weights = torch.ones_like(sizes)
        degrees = x.new_zeros(len(x)).index_add(0, node, weights[edge])
        # Two `where`s: a gradient through the untaken branch would be 0 * inf.
        scale = torch.where(degrees > 0, torch.where(degrees > 0, degrees, 1.0).rsqrt(), 0.0).unsqueeze(1)
        messages = hypergraph.v2e(scale * x, "sum", v2e_weight=1 / sizes[hypergraph.v2e_dst], e_weight=weights)
        smoothed: Tensor = scale * hypergraph.e2v(messages, "sum", e2v_weight=x.new_ones(len(edge)))
    return smoothed


class HypergraphConv(nn.Module):
    """X [N, inputs] -> D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 X Theta [N, outputs], with no activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.theta = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor, hypergraph: Hypergraph, weights: Tensor | None = None) -> Tensor:
        """Convolve; `weights` [E] as in `smooth`."""
        return smooth(self.theta(x), hypergraph, weights)


@dataclass(frozen=True)
class MultimodalHypergraph:
    """The hypergraph of B utterances of V conversations: a node for every modality that an utterance has.

    S modalities, or other streams. Hyperedges 0 .. S V - 1: one a conversation and modality, with all its utterances
    that have the modality. Then B more: one an utterance, with its modalities. So a hyperedge has the same number
    whatever is present; one whose modality is absent is empty.
    """

    hypergraph: IndexedHypergraph
    rows: tuple[Tensor, Tensor]
    """Utterance and modality of every node, int64 [N] each."""
    edges: Tensor
    """int64 [B, S + 1], number of every hyperedge that an utterance belongs to, or would belong to: its conversation's
    of each modality, and its own. With three modalities in the order of KINDS."""

    @classmethod
    def of(cls, present: Tensor, conversation: Tensor) -> "MultimodalHypergraph":
        """Return the hypergraph of a batch.

        Args:
            present: [B, S], 1 where the utterance has the modality.
            conversation: int64 [B], numbers that are compared for equality.
        """
        batch, modalities = present.shape
        known, number = torch.unique(conversation, return_inverse=True)
        contexts = number.unsqueeze(1) * modalities + torch.arange(modalities, device=number.device)
        first = len(known) * modalities
        utterances = torch.arange(first, first + batch, device=number.device).unsqueeze(1)
        edges = torch.cat([contexts, utterances], dim=1)
        utterance, modality = torch.nonzero(present > 0, as_tuple=True)
        node = torch.arange(len(utterance), device=number.device)
        both = torch.cat([edges[utterance, modality], edges[utterance, -1]])
        hypergraph = IndexedHypergraph(len(node), first + batch, torch.stack([node.repeat(2), both]))
        return cls(hypergraph, (utterance, modality), edges)

    @property
    def kind(self) -> Tensor:
        """int64 [E], column of `edges` that every hyperedge stands in: with three modalities its position in KINDS."""
        modalities, contexts = self.edges.shape[1] - 1, self.hypergraph.num_e - len(self.edges)
        kinds = torch.full((self.hypergraph.num_e,), modalities, device=self.edges.device)
        kinds[:contexts] = torch.arange(contexts, device=self.edges.device) % modalities
        return kinds

    def gather(self, x: Tensor) -> Tensor:
        """Take the nodes [N, D] out of [B, S, D]."""
        return x[self.rows]

    def scatter(self, nodes: Tensor) -> Tensor:
        """Put the nodes [N, D] back into [B, S, D], zeros where there is none."""
        whole = nodes.new_zeros(len(self.edges), self.edges.shape[1] - 1, nodes.shape[-1])
        return whole.index_put(self.rows, nodes)
