"""From rows of a batch to conversations and back: which utterances belong together, and in which order.

Knows numbers of conversations and positions of rows; neither modalities nor what an utterance is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Turns:
    """B utterances as V conversations of at most T turns."""

    slot: Tensor
    """int64 [B]: where each row stands among the V * T turns."""
    mask: Tensor
    """float32 [V, T]: 1 where a conversation has a turn; they begin at 0."""

    @classmethod
    def of(cls, conversation: Tensor) -> "Turns":
        """Return the turns of rows.

        Args:
            conversation: int64 [B], number of each row's conversation. Rows of equal numbers belong together, in the
                order in which they stand; conversations come in the order of their numbers.
        """
        _, number, lengths = torch.unique(conversation, return_inverse=True, return_counts=True)
        order = number.argsort(stable=True)
        starts = lengths.cumsum(0) - lengths
        turn = torch.empty_like(number)
        turn[order] = torch.arange(len(number), device=number.device) - starts[number[order]]
        longest = int(lengths.max()) if len(lengths) else 0
        there = torch.arange(longest, device=number.device) < lengths.unsqueeze(1)
        return cls(number * longest + turn, there.float())

    def pack(self, x: Tensor) -> Tensor:
        """[B, ...] -> [V, T, ...], zeros where there is no turn."""
        flat = x.new_zeros(self.mask.numel(), *x.shape[1:])
        return torch.unflatten(flat.index_copy(0, self.slot, x), 0, self.mask.shape)

    def unpack(self, y: Tensor) -> Tensor:
        """[V, T, ...] -> [B, ...], the rows in their order."""
        return y.flatten(0, 1)[self.slot]

    def reverse(self, y: Tensor) -> Tensor:
        """Turn every conversation of [V, T, ...] round in time; what stands behind its end becomes its first turn."""
        steps = torch.arange(self.mask.shape[1], device=y.device)
        mirrored = (self.mask.sum(1, keepdim=True).long() - 1 - steps).clamp_min(0)
        return y[torch.arange(len(y), device=y.device).unsqueeze(1), mirrored]
