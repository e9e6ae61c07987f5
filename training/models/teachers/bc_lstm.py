"""bc-LSTM: Poria, Cambria, Hazarika, Majumder, Zadeh & Morency, *Context-Dependent Sentiment Analysis in User-Generated
Videos*, ACL 2017.

    h_m = BiLSTM_m(x_m),  z_m = ReLU(W_m h_m),  h = BiLSTM([z_audio; z_video; z_text]),  z = ReLU(W h)

over the utterances of a video. The paper trains the unimodal LSTMs first and the fused one on their outputs; here all
are trained at once, and every z_m has a head of its own.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Output
from training.models.answer import Head
from training.models.teachers.layers import Answer, ContextLstm, Contexts
from training.models.teachers.utterances import Utterances, ordered


class BcLstm(nn.Module):
    """Contextual LSTMs by modality, then one over what they found."""

    def __init__(
        self,
        widths: Mapping[str, int],
        values: Sequence[float],
        width: int = 256,
        dropout: float = 0.4,
        causal: bool = False,
        head: type[Head] = Head,
    ) -> None:
        """Make a net.

        Args:
            widths: D of the modalities that it reads.
            values: the sentiment that each class stands for.
            width: of all states.
            dropout: before every dense layer and head.
            causal: whether an utterance sees no later one.
            head: makes the head.
        """
        super().__init__()
        self.widths = ordered(widths)
        self.contexts = Contexts(self.widths, width, causal, dropout)
        self.dense = nn.ModuleDict({name: nn.Sequential(nn.Linear(width, width), nn.ReLU()) for name in self.widths})
        self.memory = ContextLstm(len(self.widths) * width, width, causal)
        self.fused = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU())
        self.answer = Answer(dict.fromkeys(self.widths, width), width, values, dropout, head)

    def forward(self, inputs: Mapping[str, Tensor]) -> Output:
        """Read what `Utterances.of` reads; features as `Answer` gives them."""
        read = Utterances.of(inputs, self.widths)
        states, known = self.contexts(read)
        dense = {name: self.dense[name](state) * known[name].unsqueeze(-1) for name, state in states.items()}
        fused = self.fused(self.memory(torch.cat([*dense.values()], dim=-1), read.turns))
        output: Output = self.answer(
            read.turns.unpack(fused), {name: read.turns.unpack(state) for name, state in dense.items()}, read
        )
        return output
