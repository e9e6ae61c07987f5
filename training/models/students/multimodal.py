"""The student of conversations: small memories by modality, and a core that fuses what they hold of an utterance."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Output
from training.models.answer import Head
from training.models.teachers.cores import Core
from training.models.teachers.layers import Answer, Contexts
from training.models.teachers.utterances import Utterances, ordered


class ConversationStudent(nn.Module):
    """Reads the utterances of conversations, as far ahead as it may look.

    With a limited lookahead the memories go forward only, and to each state the next few are added by a lookahead
    convolution: what is said of utterance i depends on no input after i + lookahead, to the last bit.
    """

    def __init__(
        self,
        core: type[Core],
        widths: Mapping[str, int],
        values: Sequence[float],
        lookahead: int | None = None,
        width: int = 32,
        dropout: float = 0.4,
        head: type[Head] = Head,
    ) -> None:
        """Make a student.

        Args:
            core: GatedFusion or BottleneckFusion.
            widths: D of the modalities that it reads.
            values: the sentiment that each class stands for.
            lookahead: utterances after the present one that it sees; None: the whole conversation.
            width: of all states.
            dropout: of inputs, states and heads.
            head: makes the head.

        Raises:
            ValueError: a negative lookahead.
        """
        super().__init__()
        if lookahead is not None and lookahead < 0:
            raise ValueError(f"lookahead must be 0 or more utterances, or None for all, got {lookahead}")
        self.widths = ordered(widths)
        self.contexts = Contexts(self.widths, width, lookahead is not None, dropout)
        self.ahead = nn.ModuleDict(
            {name: LookaheadConvolution(width, lookahead) for name in self.widths} if lookahead else {}
        )
        self.core = core([1] * len(self.widths), width, dropout)
        self.answer = Answer(dict.fromkeys(self.widths, width), width, values, dropout, head)

    def forward(self, inputs: Mapping[str, Tensor]) -> Output:
        """Read what `Utterances.of` reads; features as `Answer` gives them."""
        read = Utterances.of(inputs, self.widths)
        states, known = self.contexts(read)
        for name, convolution in self.ahead.items():
            states[name], known[name] = convolution(states[name], known[name])
        tokens = [read.turns.unpack(state).unsqueeze(1) for state in states.values()]
        masks = [read.turns.unpack(there.unsqueeze(-1)) for there in known.values()]
        mixed = self.core(tokens, masks)
        output: Output = self.answer(mixed.fused, dict(zip(self.widths, mixed.states, strict=True)), read)
        return output


class LookaheadConvolution(nn.Module):
    """Wang, Yogatama, Coates, Han, Hannun & Xiao, *Lookahead Convolution Layer for Unidirectional Recurrent Neural
    Networks*, ICLR workshop 2016.

        y_i = h_i + sum_{n = 1..N} w_n * h_{i+n}

    with a weight for every channel and step ahead; they begin at 0, as if nothing was known ahead. The paper has a
    weight on h_i as well.
    """

    def __init__(self, width: int, steps: int) -> None:
        """Take D and N."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(steps, width))

    def forward(self, states: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return y [V, T, D] of states, zero where nothing is known, and where y knows something; `known`: [V, T]."""
        following = ahead(states, 1 + len(self.weight))[..., 1:, :]
        heard = ahead(known.unsqueeze(-1), 1 + len(self.weight)).amax((-2, -1))
        return states + (following * self.weight).sum(-2), heard


def ahead(x: Tensor, window: int) -> Tensor:
    """[V, T, D] -> [V, T, window, D]: every turn and those after it, zeros behind the last."""
    return nn.functional.pad(x, (0, 0, 0, window - 1)).unfold(1, window, 1).transpose(-1, -2)
