"""Two small fusions of masked token sequences, one a modality: the cores of students.

Both end alike: a state z_m of every modality, and a gate g over the modalities that are present, fused = sum_m g_m z_m.
Heads that are linear in it weigh what each modality says by g, so that g is each one's share of the answer. What a
masked token holds, NaN included, reaches neither value nor gradient.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.models.attention import masked_softmax
from training.models.teachers.layers import AttentionLayer


class Mixed(NamedTuple):
    """What a core makes of B items."""

    fused: Tensor
    """[B, D]."""
    states: list[Tensor]
    """By modality [B, D], zero where it is masked throughout."""
    contribution: Tensor
    """[B, M], the gate; sums to 1, or is all 0 when nothing is present."""


class Core(nn.Module, ABC):
    """Tokens [B, slots, D] and masks [B, slots] of M modalities -> Mixed."""

    def __init__(self, slots: Sequence[int], width: int, dropout: float) -> None:
        """Take the number of slots of every modality, D, and the dropout within."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.positions = nn.ParameterList(torch.randn(count, width) * 0.02 for count in slots)

    def forward(self, tokens: Sequence[Tensor], masks: Sequence[Tensor]) -> Mixed:
        """Fuse; a mask is 1 where there is a token."""
        placed = [
            torch.where(mask.unsqueeze(-1) > 0, x + position, 0.0)
            for x, mask, position in zip(tokens, masks, self.positions, strict=True)
        ]
        there = torch.stack([mask.amax(dim=1) for mask in masks], dim=1)
        states, scores = self.read(placed, masks, there)
        contribution = masked_softmax(scores, there)
        fused = (contribution.unsqueeze(-1) * torch.stack(states, dim=1)).sum(dim=1)
        return Mixed(fused, states, contribution)

    @abstractmethod
    def read(self, tokens: list[Tensor], masks: Sequence[Tensor], there: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the states of the modalities, and the gate's scores [B, M].

        Args:
            tokens: by modality [B, slots, D], with positions, zero where masked.
            masks: by modality [B, slots].
            there: [B, M], 1 where a modality has a token.
        """


class GatedFusion(Core):
    """After Arevalo, Solorio, Montes-y-Gomez & Gonzalez, *Gated Multimodal Units for Information Fusion*, 2017.

        z_m = tanh(W_m sum_t a_t x_mt),  a = softmax_t(q_m x_mt / sqrt D),  g = softmax_m(V [z_1; ..; z_M])

    A learned question q_m picks a modality's tokens. The gate is one number a modality, where the unit of the paper has
    one a channel.
    """

    def __init__(self, slots: Sequence[int], width: int, dropout: float) -> None:
        super().__init__(slots, width, dropout)
        # Of single tokens there is nothing to pick.
        self.question = nn.Parameter(torch.randn(len(slots), width) * width**-0.5) if max(slots) > 1 else None
        self.value = nn.ModuleList(nn.Linear(width, width) for _ in slots)
        self.gate = nn.Linear(len(slots) * width, len(slots))

    def read(self, tokens: list[Tensor], masks: Sequence[Tensor], there: Tensor) -> tuple[list[Tensor], Tensor]:
        """See Core."""
        states = []
        for i, (x, mask, value) in enumerate(zip(tokens, masks, self.value, strict=True)):
            pooled = x.squeeze(1) if self.question is None else _pooled(x, self.question[i], mask)
            states.append(torch.tanh(value(self.dropout(pooled))) * there[:, i : i + 1])
        return states, self.gate(torch.cat(states, dim=-1))


class BottleneckLayer(nn.Module):
    """Every modality's tokens beside the bottlenecks, in a layer of its own; then the mean of what the latter heard."""

    def __init__(self, modalities: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentionLayer(width, heads, dropout) for _ in range(modalities))

    def forward(
        self, tokens: list[Tensor], masks: Sequence[Tensor], between: Tensor, there: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Return tokens [B, slots, D] and bottlenecks [B, K, D]; the mean is over the modalities in `there` [B, M]."""
        updated, heard = [], []
        for block, x, mask in zip(self.blocks, tokens, masks, strict=True):
            joined = torch.cat([x, between], dim=1)
            # The bottlenecks are always there.
            y = block(joined, joined, nn.functional.pad(mask, (0, between.shape[1]), value=1.0))
            updated.append(y[:, : x.shape[1]])
            heard.append(y[:, x.shape[1] :])
        count = there.sum(dim=1)[:, None, None]
        mean = (there[:, :, None, None] * torch.stack(heard, dim=1)).sum(dim=1) / count.clamp(min=1.0)
        return updated, torch.where(count > 0, mean, between)


class BottleneckFusion(Core):
    """After Nagrani, Yang, Arnab, Jansen, Schmid & Sun, *Attention Bottlenecks for Multimodal Fusion*, NeurIPS 2021.

        [x_m; b_m] = layer_m([x_m; b]),  b = mean_m b_m

    in every layer: a modality's tokens see each other and a few bottleneck tokens, through which alone modalities talk.
    The mean is over the modalities that are present. Each state is the mean of a modality's tokens in the end, and the
    gate looks at it beside the bottlenecks; the paper averages the answers of class tokens, with equal gates.
    """

    def __init__(
        self, slots: Sequence[int], width: int, dropout: float, bottlenecks: int = 2, layers: int = 2, heads: int = 2
    ) -> None:
        super().__init__(slots, width, dropout)
        self.bottlenecks = nn.Parameter(torch.randn(bottlenecks, width) * 0.02)
        self.layers = nn.ModuleList(BottleneckLayer(len(slots), width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.gate = nn.ModuleList(nn.Linear(2 * width, 1) for _ in slots)

    def read(self, tokens: list[Tensor], masks: Sequence[Tensor], there: Tensor) -> tuple[list[Tensor], Tensor]:
        """See Core."""
        between = self.bottlenecks.expand(there.shape[0], -1, -1)
        for layer in self.layers:
            tokens, between = layer(tokens, masks, between, there)
        states = [
            self.norm(_masked_mean(x, mask)) * there[:, i : i + 1]
            for i, (x, mask) in enumerate(zip(tokens, masks, strict=True))
        ]
        found = self.norm(between.mean(dim=1))
        scores = [gate(torch.cat([state, found], dim=-1)) for gate, state in zip(self.gate, states, strict=True)]
        return states, torch.cat(scores, dim=-1)


def _pooled(x: Tensor, question: Tensor, mask: Tensor) -> Tensor:
    """Mean [B, D] of tokens [B, T, D], weighed by how they match a question [D]; 0 where mask [B, T] has none."""
    picked = masked_softmax(x @ question * x.shape[-1] ** -0.5, mask)
    return (picked.unsqueeze(1) @ x).squeeze(1)


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean [B, D] over the tokens of [B, T, D] where mask [B, T] is 1; 0 where none is."""
    return (x * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1.0)
