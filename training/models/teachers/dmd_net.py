"""The decoupled encoder of Li, Wang & Cui, *Decoupled Multimodal Distilling for Emotion Recognition*, CVPR 2023.

    common_m = E(h_m),  private_m = E_m(h_m)
    reconstructed_m = D_m([common_m; private_m]),  cycled_m = E_m(reconstructed_m)

E is shared by the modalities, E_m and D_m are not. All are linear, without bias in the encoders, as the convolutions of
width one of the authors' code. h_m is what a memory over the conversation makes of the modality, in the place of their
temporal convolution; the answer comes from all codes side by side, where they use cross-modal transformers besides.

What pulls the codes apart (reconstruction, cycle, margin, orthogonality) is not here: it is the business of the method
`dmd`, which finds all that it needs among the features.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Output
from training.models.answer import Head
from training.models.teachers.layers import Answer, Contexts
from training.models.teachers.utterances import Utterances, ordered


class DmdNet(nn.Module):
    """Memories by modality, decoupled into what modalities share and what is theirs alone."""

    def __init__(
        self,
        widths: Mapping[str, int],
        values: Sequence[float],
        width: int = 256,
        dropout: float = 0.4,
        head: type[Head] = Head,
    ) -> None:
        """Make a net.

        Args:
            widths: D of the modalities that it reads.
            values: the sentiment that each class stands for.
            width: of states and codes.
            dropout: of inputs, states and heads.
            head: makes the head.
        """
        super().__init__()
        self.widths = ordered(widths)
        self.contexts = Contexts(self.widths, width, False, dropout)
        self.common = nn.Linear(width, width, bias=False)
        self.private = nn.ModuleDict({name: nn.Linear(width, width, bias=False) for name in self.widths})
        self.decode = nn.ModuleDict({name: nn.Linear(2 * width, width) for name in self.widths})
        both = 2 * width
        self.fused = nn.Sequential(nn.Linear(both * len(self.widths), width), nn.ReLU())
        self.answer = Answer(dict.fromkeys(self.widths, both), width, values, dropout, head)

    def forward(self, inputs: Mapping[str, Tensor]) -> Output:
        """Read what `Utterances.of` reads.

        Features beside those of `Answer`, where a modality's state is its two codes side by side: `<modality>.common`,
        `.private`, `.input` (what is encoded), `.reconstructed` and `.cycled`, all [B, width], zero where it is absent.
        """
        read = Utterances.of(inputs, self.widths)
        packed, _ = self.contexts(read)
        states: dict[str, Tensor] = {}
        codes: dict[str, Tensor] = {}
        for name, state in packed.items():
            x = read.turns.unpack(state)
            common, private = self.common(x), self.private[name](x)
            states[name] = torch.cat([common, private], dim=-1)
            reconstructed = self.decode[name](states[name])
            parts = {
                "common": common,
                "private": private,
                "input": x,
                "reconstructed": reconstructed,
                "cycled": self.private[name](reconstructed),
            }
            codes |= {f"{name}.{part}": code * read.there[name] for part, code in parts.items()}
        fused = self.fused(torch.cat([*states.values()], dim=-1))
        output: Output = self.answer(fused, states, read, codes)
        return output
