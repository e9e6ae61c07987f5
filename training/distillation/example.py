"""What a step trains on, and what it may measure itself by. Knows nothing of where the samples come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from training.distillation.outputs import Batch, Output


@dataclass
class Example:
    """A batch as the loop hands it to a step."""

    inputs: Any
    """What the student's forward takes."""
    batch: Batch
    teachers: dict[str, Output] = field(default_factory=dict)
    """Teacher -> its outputs, usually from the cache; those of live teachers are filled in by `meta_teacher`."""
    teacher_inputs: dict[str, Any] = field(default_factory=dict)
    """Live teacher -> what its forward takes, where that is not `inputs`."""
    sample_weights: Tensor | None = None
    """[B], in place of the mean's 1 / B; filled in by `reweight`."""


class HeldOut(Protocol):
    """Labelled samples that the student is not trained on, for the outer steps.

    Neither validation, which chooses the checkpoint, nor test: a part of the training split that is set aside. Where
    samples are utterances, what is counted and fetched are whole conversations.
    """

    def __len__(self) -> int:
        """Return how many samples there are."""
        ...

    def fetch(self, indices: Sequence[int]) -> Example:
        """Return these samples, on the device of the student; they need no teachers."""
        ...
