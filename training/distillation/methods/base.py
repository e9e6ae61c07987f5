"""The contract of a distillation method."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from training.distillation.outputs import Batch, Output

Need = Literal["logits", "score", "features", "target", "index"]
Terms = dict[str, Tensor]
"""Named, unreduced terms, each [B]. A term that belongs to one teacher is called `term/teacher`, so that a weigher can
multiply it per sample and per teacher before the mean; one without a slash concerns all teachers at once."""


class Method(nn.Module, ABC):
    """What is matched between a student and its teachers.

    The mathematics is a pure function in the method's module; the class holds the hyper-parameters, a frozen dataclass
    with a docstring under each field, and whatever is trainable (adapters, kernels), which the optimiser gets through
    `parameters()`. What a run must remember besides lies in buffers, so that a checkpoint resumes bit for bit.

    The terms carry the weights of the configuration already. Nothing is detached: who does not train the teachers gives
    outputs without gradients.
    """

    name: ClassVar[str]
    family: ClassVar[Literal["A", "B", "C", "D", "E"]]
    paper: ClassVar[str]
    """Authors, title, venue, year."""
    equation: ClassVar[str]
    """In plain text, with the symbols of the paper."""
    needs: ClassVar[frozenset[Need]]
    scaled: ClassVar[tuple[str, ...]] = ("weight",)
    """Hyper-parameters that weigh its terms against the task: what one factor for all of it multiplies."""
    Config: ClassVar[type[Any]]

    def __init__(self, **hyperparameters: Any) -> None:
        """Check and keep the hyper-parameters; raises TypeError or ValueError that names the wrong one."""
        super().__init__()
        self.config = self.Config(**hyperparameters)

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create what is trainable from the shapes of example outputs; called once, before the optimiser is made.

        Raises:
            ValueError: the outputs lack what the method needs, or widths don't fit; says what to change.
        """

    def forward(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return the terms of `loss`, computed in full precision whatever autocast is in force around the call."""
        with torch.autocast(student.device_type, enabled=False):
            return self.loss(student.lifted(), {name: teacher.lifted() for name, teacher in teachers.items()}, batch)

    @property
    def weighs_sources(self) -> bool:
        """Whether a weigher of the method's own weighs its `sources`, in the place of the teachers."""
        return False

    def sources(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Mapping[str, Output]:
        """Return what its terms `term/source` belong to, and its weigher is asked about: the teachers.

        A method whose knowledge flows over edges may return one output an edge or hyperedge instead, by names without a
        slash: what arrives over it at every sample. Which sources there are does not depend on the batch; a sample that
        lacks one has a row of zeros in its `present`, and the source's weight goes to the sample's others.
        """
        return teachers

    def edge_weights(self) -> dict[str, Tensor]:
        """Return the weights that the method itself gave in its last call, without gradient: edge -> [B].

        An edge is called `source>stream`: from where to which of the student's streams. Empty for methods that weigh
        nothing themselves.
        """
        return {}

    @abstractmethod
    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return the method's named, unreduced terms.

        Raises:
            ValueError: an output lacks what the method needs; says which and what to change.
        """
