"""Which held-out samples are hard: a set of indices of bounded size.

Knows neither the samples nor the student; it is told which of the indices that it is offered were hard.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class HardBuffer:
    """Holds up to `capacity` different indices.

    It takes everything until it is full; from then on only the hard ones, each in the place of a random one.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a buffer needs room for at least one sample, got {capacity}")
        self.capacity = capacity
        self.indices: list[int] = []

    def offer(self, indices: Sequence[int], hard: Sequence[bool], generator: torch.Generator) -> None:
        """Take up indices, `hard` says which of them are; those that are in it already stay."""
        known = set(self.indices)
        for index, is_hard in zip(indices, hard, strict=True):
            if index in known:
                continue
            if len(self.indices) < self.capacity:
                self.indices.append(index)
            elif is_hard:
                place = int(torch.randint(self.capacity, (), generator=generator))
                self.indices[place] = index

    def sample(self, count: int, generator: torch.Generator) -> list[int]:
        """Return up to `count` different indices, at random."""
        order = torch.randperm(len(self.indices), generator=generator)
        return [self.indices[place] for place in order[:count].tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Return the indices."""
        return {"indices": list(self.indices)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the indices of a checkpoint."""
        self.indices = list(state["indices"])
