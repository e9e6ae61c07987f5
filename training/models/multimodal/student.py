"""The student of conversations: small memories by modality, and a core that fuses what they hold of an utterance."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from training.models.answer import Head
from training.models.multimodal.cores import Core
from training.models.multimodal.layers import Answer, Contexts
from training.models.multimodal.utterances import Utterances, ordered
from training.outputs import Output


class ConversationStudent(nn.Module):
    """Reads the utterances of conversations, as far ahead as it may look.

    With a limited lookahead the memories go forward only, and the core gets the states of an utterance and of the next
    few as a sequence of tokens: what is said of utterance i depends on no input after i + lookahead, to the last bit.
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
        self.window = 1 + (lookahead or 0)
        self.contexts = Contexts(self.widths, width, lookahead is not None, dropout)
        self.core = core([self.window] * len(self.widths), width, dropout)
        self.answer = Answer(dict.fromkeys(self.widths, width), width, values, dropout, head)

    def forward(self, inputs: Mapping[str, Tensor]) -> Output:
        """Read what `Utterances.of` reads; features as `Answer` gives them."""
        read = Utterances.of(inputs, self.widths)
        states, known = self.contexts(read)
        tokens = [read.turns.unpack(ahead(state, self.window)) for state in states.values()]
        masks = [read.turns.unpack(ahead(there.unsqueeze(-1), self.window)).squeeze(-1) for there in known.values()]
        mixed = self.core(tokens, masks)
        output: Output = self.answer(mixed.fused, dict(zip(self.widths, mixed.states, strict=True)), read)
        return output


def ahead(x: Tensor, window: int) -> Tensor:
    """[V, T, D] -> [V, T, window, D]: every turn and those after it, zeros behind the last."""
    return nn.functional.pad(x, (0, 0, 0, window - 1)).unfold(1, window, 1).transpose(-1, -2)
