"""What sources of sentences share (see training/teachers/sources.py)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from training.distillation.outputs import Output


class TextSource(ABC):
    """Texts -> a vector each."""

    reads: ClassVar[str] = "text"

    @abstractmethod
    def key(self) -> dict[str, object]:
        """Return what its vectors depend on, for the cache."""

    @abstractmethod
    def describe(self, texts: Sequence[str]) -> Tensor:
        """Return [N, F]."""

    def features(self, media: Sequence[str], slots: int | None) -> Output:
        """See Source."""
        del slots
        return Output(features={"vector": self.describe(media)})
