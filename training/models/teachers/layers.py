"""The layers that multimodal models share: memory over a conversation, attention, and the answer at the end."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from training.distillation.outputs import Output
from training.models.answer import Head
from training.models.attention import Attention, FeedForward, masked_bias
from training.models.conversation import Turns
from training.models.teachers.utterances import Utterances


class ContextLstm(nn.Module):
    """An LSTM over the turns of every conversation, both ways or, when `causal`, forward only.

    The backward half is an LSTM of its own over the reversed turns, so that padding comes last in both and changes
    nothing (a bidirectional LSTM over packed sequences says the same, at a third of the speed on a CPU).
    """

    def __init__(self, inputs: int, width: int, causal: bool) -> None:
        """Take an even `width` unless causal: each half gives one half of it."""
        super().__init__()
        self.forward_half = nn.LSTM(inputs, width if causal else width // 2, batch_first=True)
        self.backward_half = None if causal else nn.LSTM(inputs, width // 2, batch_first=True)

    def forward(self, x: Tensor, turns: Turns) -> Tensor:
        """[V, T, inputs] -> states [V, T, width]; they mean nothing where there is no turn."""
        ahead: Tensor = self.forward_half(x)[0]
        if self.backward_half is None:
            return ahead
        back = turns.reverse(self.backward_half(turns.reverse(x))[0])
        return torch.cat([ahead, back], dim=-1)


class Contexts(nn.Module):
    """For every modality a projection and a memory over the conversation."""

    def __init__(self, widths: Mapping[str, int], width: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.causal = causal
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Dropout(dropout), nn.Linear(own, width), nn.ReLU()) for name, own in widths.items()}
        )
        self.memory = nn.ModuleDict({name: ContextLstm(width, width, causal) for name in widths})
        self.dropout = nn.Dropout(dropout)

    def forward(self, read: Utterances) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return by modality states [V, T, width], and where they know anything of it, [V, T].

        A state knows of a modality when an utterance that it could hear has it: so what was said before is still known
        where the modality is missing for a while. Where nothing is known the state is zero.
        """
        states, known = {}, {}
        for name, x in read.x.items():
            there = read.turns.pack(read.there[name]).squeeze(-1)
            heard = there.cummax(1).values if self.causal else there.amax(1, keepdim=True)
            known[name] = heard * read.turns.mask
            projected = read.turns.pack(self.project[name](x) * read.there[name])
            states[name] = self.dropout(self.memory[name](projected, read.turns)) * known[name].unsqueeze(-1)
        return states, known


class AttentionLayer(nn.Module):
    """Pre-norm attention and feed-forward: of a sequence to another one, or to itself."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed = FeedForward(width, 2 * width, dropout=0.0)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """Let x [B, Q, D] read source [B, S, D] where mask [B, S] is 1; a source without a step adds nothing."""
        there = mask.amax(1)[:, None, None]
        read = self.attention(self.attention_norm(x), self.attention_norm(source), masked_bias(mask))
        x = x + self.dropout(read) * there
        out: Tensor = x + self.dropout(self.feed(self.feed_norm(x)))
        return out


class AttentionStack(nn.Module):
    """Attention layers one on the other, which all read the same source, or each what the one below it gives."""

    def __init__(self, layers: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(width, heads, dropout) for _ in range(layers))

    def forward(self, x: Tensor, source: Tensor | None, mask: Tensor) -> Tensor:
        """Let x [B, Q, D] read source [B, S, D], or itself when there is none, where mask [B, S] is 1."""
        for layer in self.layers:
            x = layer(x, x if source is None else source, mask)
        return x


class Answer(nn.Module):
    """What every multimodal model ends with: a head over all modalities, and a linear one for each alone."""

    def __init__(
        self, states: Mapping[str, int], fused: int, values: Sequence[float], dropout: float, head: type[Head]
    ) -> None:
        """Make the heads.

        Args:
            states: width of every modality's state.
            fused: width of the fused one.
            values: the sentiment that each class stands for.
            dropout: before the heads.
            head: Head, or a class with its constructor, such as one that scores by a regression of its own.
        """
        super().__init__()
        self.head = head(fused, values, dropout)
        self.alone = nn.ModuleDict(
            {name: nn.Sequential(nn.Dropout(dropout), nn.Linear(width, len(values))) for name, width in states.items()}
        )

    def forward(
        self, fused: Tensor, states: Mapping[str, Tensor], read: Utterances, more: Mapping[str, Tensor] | None = None
    ) -> Output:
        """Return the output for fused [B, D] and states [B, D'], with `more` features [B, ...] beside theirs.

        Features: each modality's state under its name, `<modality>.logits` [B, C] that it alone gives, both zero where
        it is absent; and at the end `penultimate`, the fused state.
        """
        features = {name: state * read.there[name] for name, state in states.items()}
        features |= {f"{name}.logits": head(states[name]) * read.there[name] for name, head in self.alone.items()}
        logits, score = self.head(fused)
        features |= {**(more or {}), "penultimate": fused}
        return Output(logits, score, features=features, present=read.present)
