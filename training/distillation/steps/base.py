"""The contract of a training step: one example in, everything that is trained moved once, metrics out.

A step wraps the next one, down to `plain`, which moves the student; each does its own part before or after it. So they
combine: `meta_teacher` around `meta` around `reweight` around `plain`. Knows nothing of epochs, schedules, logs and
checkpoints: those are the loop's, which calls `step(example)` and saves `step.state_dict()`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from training.distillation.distiller import Distiller
from training.distillation.example import Example, HeldOut

Metrics = dict[str, Tensor]
"""Name -> detached scalar on the student's device: reading one waits for the device, so the loop reads them when it
logs. The mean weight of a teacher is called `weight/teacher`, the standard deviation of its weights over the batch
`weight_std/teacher`."""


class Step(Protocol):
    """What the loop sees."""

    def __call__(self, example: Example) -> Metrics:
        """Train on one example."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on bit for bit, besides distiller and main optimiser."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        ...


@dataclass(frozen=True)
class Context:
    """What outer steps may reach besides the example."""

    distiller: Distiller
    """The student and how it is taught, not wrapped by DistributedDataParallel."""
    held_out: HeldOut | None = None
    live_teachers: Mapping[str, nn.Module] = field(default_factory=dict)
    """Teacher -> module that is called with the inputs and gives an Output; `meta_teacher` trains them."""


class OuterStep(ABC):
    """A step around another one, with hyper-parameters and a place in the catalogue of methods.

    What it learns with an optimiser of its own (`optimizer`) and what it draws at random (`generator`) is in its state.
    Every process draws the same numbers, so that one checkpoint serves all.
    """

    name: ClassVar[str]
    family: ClassVar[Literal["D"]] = "D"
    paper: ClassVar[str]
    equation: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    Config: ClassVar[type[Any]]

    def __init__(self, next_step: Step, context: Context, **hyperparameters: Any) -> None:
        """Check and keep the hyper-parameters.

        Raises:
            TypeError, ValueError: a hyper-parameter is wrong; names it.
            ValueError: there are no held-out samples.
        """
        self.config = self.Config(**hyperparameters)
        self.next_step = next_step
        self.distiller = context.distiller
        self.generator = torch.Generator().manual_seed(self.config.seed)
        if context.held_out is None or len(context.held_out) == 0:
            raise ValueError(f"the step {self.name!r} needs held-out samples: set a part of the training split aside")
        self.held_out = context.held_out

    @abstractmethod
    def __call__(self, example: Example) -> Metrics:
        """Do the step's own part and the next step; return the metrics of both."""

    def draw(self, count: int) -> list[int]:
        """Return up to `count` different held-out indices, at random."""
        order = torch.randperm(len(self.held_out), generator=self.generator)
        return [int(index) for index in order[:count]]

    def own_state(self) -> dict[str, Any]:
        """Return the state of this step alone; extended by steps that have more."""
        return {"generator": self.generator.get_state()}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take up the state of this step alone."""
        self.generator.set_state(state["generator"].cpu())

    def state_dict(self) -> dict[str, Any]:
        """Return the states of this step and of the next."""
        return {"step": self.name, "own": self.own_state(), "next": self.next_step.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the states of a checkpoint.

        Raises:
            ValueError: the checkpoint was written by other steps.
        """
        if state.get("step") != self.name:
            raise ValueError(f"the checkpoint has the step {state.get('step')!r} where this run has {self.name!r}")
        self.load_own_state(state["own"])
        self.next_step.load_state_dict(state["next"])
