"""The contract of a weigher: how much each teacher counts for each sample."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from training.distillation.methods.base import Terms
from training.distillation.outputs import Batch, Output


class Weigher(nn.Module, ABC):
    """Weights of K teachers for B samples; they are non-negative and the rows of the weights sum to 1.

    Independent of the method: `total(terms, weights, teachers)` in `weighers/combine.py` multiplies each
    `term/teacher` by its teacher's column. The hyper-parameters are a frozen dataclass beside the class, as for
    methods. Weights never send a gradient into the student or the teachers: a student must not get better marks by
    choosing who marks it.
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

    def like(self) -> "Weigher":
        """Return another one with the same hyper-parameters, yet to be built."""
        return type(self)(**{field.name: getattr(self.config, field.name) for field in fields(self.config)})

    @property
    def meta_learned(self) -> bool:
        """Whether the parameters belong to an outer step on held-out samples (`steps/meta.py`), and not to the
        optimiser of the student."""
        return False

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create what is trainable from the shapes of example outputs; called once, before the optimiser is made.

        Raises:
            ValueError: the outputs lack what the weigher needs; says what to change.
        """

    @abstractmethod
    def weigh(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Tensor:
        """Return the weights [B, K], in the order of `teachers`.

        Raises:
            ValueError: an output lacks what the weigher needs; says which and what to change.
        """

    def terms(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return the unreduced terms [B] that train what the weigher itself owns; they are added as they are.

        They must not send a gradient into the student.
        """
        return {}
