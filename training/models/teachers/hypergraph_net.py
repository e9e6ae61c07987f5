"""A hypergraph network over conversations, after Chen, Shi, Wang & Luo, *M3NET*, CVPR 2023.

The convolution is that of Feng, You, Zhang, Ji & Gao, *Hypergraph Neural Networks*, AAAI 2019.

    X^(l+1) = X^(l) + dropout(ReLU(D_v^-1/2 H W^(l) D_e^-1 H^T D_v^-1/2 X^(l) Theta^(l)))

A node for every modality of every utterance; three hyperedges a conversation, one a modality, and one an utterance over
its modalities (training/models/hypergraph.py). M3NET learns a weight for every hyperedge up to a fixed number, and one
for every pair of node and hyperedge; here the four kinds of hyperedges have one each, in every layer, as conversations
have no fixed number. Its second, multi-frequency graph and its speaker embeddings are left out.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from contract.labels import MODALITIES
from training.distillation.outputs import Output
from training.models.answer import Head
from training.models.hypergraph import KINDS, HypergraphConv, MultimodalHypergraph
from training.models.teachers.layers import Answer, Contexts
from training.models.teachers.utterances import Utterances, ordered


class HypergraphNet(nn.Module):
    """Memories by modality, hypergraph convolutions over all of them, and back to utterances."""

    def __init__(
        self,
        widths: Mapping[str, int],
        values: Sequence[float],
        width: int = 256,
        layers: int = 3,
        dropout: float = 0.4,
        head: type[Head] = Head,
    ) -> None:
        """Make a net.

        Args:
            widths: D of the modalities that it reads.
            values: the sentiment that each class stands for.
            width: of all states.
            layers: hypergraph convolutions.
            dropout: of states, layers and heads.
            head: makes the head.
        """
        super().__init__()
        self.widths = ordered(widths)
        self.contexts = Contexts(self.widths, width, False, dropout)
        self.kind = nn.Parameter(torch.randn(len(MODALITIES), width) * 0.02)
        self.layers = nn.ModuleList(HypergraphConv(width, width) for _ in range(layers))
        self.log_weights = nn.Parameter(torch.zeros(layers, len(KINDS)))
        self.dropout = nn.Dropout(dropout)
        both = 2 * width
        self.fused = nn.Sequential(nn.Linear(both * len(self.widths), width), nn.ReLU())
        self.answer = Answer(dict.fromkeys(self.widths, both), width, values, dropout, head)

    def forward(self, inputs: Mapping[str, Tensor]) -> Output:
        """Read what `Utterances.of` reads; features as `Answer` gives them: a node before and after the layers."""
        read = Utterances.of(inputs, self.widths)
        packed, _ = self.contexts(read)
        memories = {name: read.turns.unpack(state) for name, state in packed.items()}
        heard = self._convolve(memories, read.present, inputs["conversation"])
        states = {
            name: torch.cat([memory * read.there[name], heard[:, MODALITIES.index(name)]], dim=-1)
            for name, memory in memories.items()
        }
        output: Output = self.answer(self.fused(torch.cat([*states.values()], dim=-1)), states, read)
        return output

    def _convolve(self, memories: Mapping[str, Tensor], present: Tensor, conversation: Tensor) -> Tensor:
        """Return what the nodes have heard, [B, 3, width], zeros where there is no node."""
        some = next(iter(memories.values()))
        nodes = torch.stack([memories.get(name, torch.zeros_like(some)) for name in MODALITIES], dim=1) + self.kind
        graph = MultimodalHypergraph.of(present, conversation)
        x, kinds = graph.gather(nodes), graph.kind
        for layer, log_weights in zip(self.layers, self.log_weights, strict=True):
            x = x + self.dropout(layer(x, graph.hypergraph, log_weights.exp()[kinds]).relu())
        return graph.scatter(x)
