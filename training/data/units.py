"""Which samples belong together in a batch: the utterances of one conversation, or every sample for itself.

Knows positions and numbers; neither samples nor what a conversation is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Units:
    """N samples in U units, whose samples stand together and in order."""

    positions: Tensor
    """int64 [N], of samples, unit after unit."""
    starts: Tensor
    """int64 [U + 1]: unit u has `positions[starts[u] : starts[u + 1]]`."""

    @classmethod
    def of(cls, unit: Tensor | None, positions: Tensor) -> "Units":
        """Return the units of the samples at `positions`.

        Args:
            unit: `Samples.unit`, the number of each sample's unit; None: each is one of its own.
            positions: int64 [N], of samples, those of a unit together.

        Raises:
            ValueError: the samples of a unit are not together.
        """
        if unit is None:
            return cls(positions, torch.arange(len(positions) + 1))
        numbers, lengths = torch.unique_consecutive(unit[positions], return_counts=True)
        if len(numbers.unique()) < len(numbers):
            again = next(number for number in numbers.tolist() if (numbers == number).sum() > 1)
            raise ValueError(
                f"Samples.unit: the samples of unit {again} don't stand together; sort them by unit and time"
            )
        return cls(positions, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def noun(self) -> str:
        """What messages call them."""
        return "samples" if len(self) == len(self.positions) else "conversations"

    def rows(self, units: Tensor) -> Tensor:
        """Return the positions [M] of the samples of these units (int64 [K], from 0 to U - 1), in that order."""
        starts = self.starts[units]
        lengths = self.starts[units + 1] - starts
        before = lengths.cumsum(0) - lengths
        return self.positions[torch.arange(int(lengths.sum())) + (starts - before).repeat_interleave(lengths)]

    def chunks(self, limit: int) -> list[slice]:
        """Return slices of `positions`, one after the other, of at most `limit` samples, that split no unit.

        A unit of more than `limit` samples is a chunk of its own.
        """
        chunks, begin, end = [], 0, 0
        for start, stop in torch.stack([self.starts[:-1], self.starts[1:]], dim=1).tolist():
            if stop - begin > limit and start > begin:
                chunks.append(slice(begin, start))
                begin = start
            end = stop
        return [*chunks, slice(begin, end)] if end > begin else chunks
