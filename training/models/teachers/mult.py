"""MulT: Tsai, Bai, Liang, Kolter, Morency & Salakhutdinov, *Multimodal Transformer for Unaligned Multimodal Language
Sequences*, ACL 2019.

    Z_m = W_m x_m + PE,    Z_{b->a} = crossmodal transformer: queries from Z_a, keys and values from Z_b,
    Z_a' = transformer([Z_{b->a}; Z_{c->a}]),    y = f([Z_audio'; Z_video'; Z_text'])

Six directed crossmodal transformers for three modalities, two for two. The paper's steps are the frames of one
utterance, and its answer comes from the last one; here the steps are the utterances of a conversation, each with an
answer of its own, and the temporal convolution in front is one step wide. As in the authors' code every crossmodal
layer reads the low-level Z_b, and a crossmodal layer has one norm for queries and keys.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Output
from training.models.answer import Head
from training.models.teachers.layers import Answer, AttentionStack
from training.models.teachers.utterances import Utterances, ordered


class MulT(nn.Module):
    """Every modality reads every other one, then itself."""

    def __init__(
        self,
        widths: Mapping[str, int],
        values: Sequence[float],
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.3,
        head: type[Head] = Head,
    ) -> None:
        """Make a net.

        Args:
            widths: D of the modalities that it reads, at least two.
            values: the sentiment that each class stands for.
            width: of a crossmodal transformer.
            layers: of every transformer.
            heads: of attention; divide `width`.
            dropout: of inputs, layers and heads.
            head: makes the head.

        Raises:
            ValueError: a single modality: there is nothing to cross.
        """
        super().__init__()
        self.widths = ordered(widths)
        if len(self.widths) < 2:
            raise ValueError(f"MulT crosses at least two modalities, and was given {', '.join(self.widths)} alone")
        both = width * (len(self.widths) - 1)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.ModuleDict({name: nn.Linear(own, width) for name, own in self.widths.items()})
        self.crossed = nn.ModuleDict(
            {
                f"{source}_{target}": AttentionStack(layers, width, heads, dropout)
                for target in self.widths
                for source in self._others(target)
            }
        )
        self.own = nn.ModuleDict({name: AttentionStack(layers, both, heads, dropout) for name in self.widths})
        self.norm = nn.ModuleDict({name: nn.LayerNorm(both) for name in self.widths})
        fused = both * len(self.widths)
        self.fused = nn.Sequential(nn.Linear(fused, fused), nn.ReLU(), nn.Dropout(dropout), nn.Linear(fused, fused))
        self.answer = Answer(dict.fromkeys(self.widths, both), fused, values, dropout, head)

    def forward(self, inputs: Mapping[str, Tensor]) -> Output:
        """Read what `Utterances.of` reads; features as `Answer` gives them."""
        read = Utterances.of(inputs, self.widths)
        turns = read.turns
        low = {name: turns.pack(self.project[name](self.dropout(x))) for name, x in read.x.items()}
        low = {name: x + positions(x.shape[1], x.shape[2]).to(x.device) for name, x in low.items()}
        there = {name: turns.pack(there).squeeze(-1) for name, there in read.there.items()}
        states = {name: turns.unpack(self._heard(name, low, there, turns.mask)) for name in self.widths}
        together = torch.cat([*states.values()], dim=-1)
        output: Output = self.answer(together + self.fused(together), states, read)
        return output

    def _heard(self, target: str, low: dict[str, Tensor], there: dict[str, Tensor], turns: Tensor) -> Tensor:
        """What a modality has heard of the others, [V, T, both]."""
        crossed = [
            self.crossed[f"{source}_{target}"](low[target], low[source], there[source])
            for source in self._others(target)
        ]
        heard: Tensor = self.norm[target](self.own[target](torch.cat(crossed, dim=-1), None, turns))
        return heard

    def _others(self, target: str) -> list[str]:
        return [name for name in self.widths if name != target]


def positions(steps: int, width: int) -> Tensor:
    """Sinusoids [steps, width] of Vaswani et al. 2017: sines in the first half of the channels, cosines in the rest."""
    half = (width + 1) // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half) / half)
    angles = torch.arange(steps).unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
