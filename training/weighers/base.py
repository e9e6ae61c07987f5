"""The contract of a weigher: how much each teacher counts for each sample."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from training.outputs import Batch, Output


class Weigher(nn.Module, ABC):
    """Weights of K teachers for B samples; the rows of the weights sum to 1.

    Independent of the method: `total(terms, weights)` in `training/weighers/__init__.py` multiplies each `term/teacher`
    by its teacher's column. The hyper-parameters are a frozen dataclass beside the class, as for methods.
    """

    name: ClassVar[str]
    family: ClassVar[Literal["D"]] = "D"
    paper: ClassVar[str]
    equation: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    Config: ClassVar[type[Any]]

    def __init__(self, **hyperparameters: Any) -> None:
        """Check and keep the hyper-parameters; raises TypeError or ValueError that names the wrong one."""
        super().__init__()
        self.config = self.Config(**hyperparameters)

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create what is trainable from the shapes of example outputs; called once, before the optimiser is made."""

    @abstractmethod
    def weigh(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Tensor:
        """Return the weights [B, K], in the order of `teachers`."""
