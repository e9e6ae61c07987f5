"""A teacher that learns to teach: it moves so that the student, after being taught, does better on held-out samples
(MetaDistil).

Zhou, Xu, McAuley, *BERT Learns to Teach: Knowledge Distillation with Meta Learning*, ACL 2022. At each step:

    S'(T) = S - inner_rate grad_S L(S, T; batch)        a pilot step
    T <- T - learning_rate grad_T CE(S'(T); held-out)   second order in S
    S <- one ordinary step on L(S, T; batch)            again from S, with the new T

L: task and matching; "held-out" is the paper's quiz set. `live_teachers` are the modules that learn; teachers from the
cache beside them stay as they are.

Differences to the authors' code: theirs keeps hand-written functional copies of its nets and copies the student back
and forth, here `functional_call` leaves the student alone; theirs pilots over several batches where asked to, this
over one; and theirs evaluates the query on the whole set in its vision half, this on one batch, as the paper's
algorithm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from training.distillation.example import Example
from training.distillation.methods import checks
from training.distillation.outputs import Output
from training.distillation.steps.base import Context, Metrics, OuterStep, Step
from training.distillation.steps.lookahead import (
    evaluating,
    gradients_of,
    held_out_loss,
    losses_at,
    step_ahead,
    student_parameters,
    twice_differentiable,
)


@dataclass(frozen=True)
class MetaTeacherConfig:
    """Hyper-parameters of `meta_teacher`."""

    every: int = 1
    """Student steps to one step of the teachers."""
    inner_rate: float = 0.5
    """Size of the pilot step."""
    inner_clip: float = 1.0
    """Greatest norm of the pilot step's gradient; 0: not clipped."""
    learning_rate: float = 1e-4
    """Of the teachers' optimiser, AdamW."""
    weight_decay: float = 0.01
    """Of the same."""
    batch_size: int = 64
    """Held-out samples of a query."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        checks.count(self, "every")
        checks.count(self, "batch_size")
        checks.count(self, "seed", least=0)
        checks.number(self, "inner_rate", above=0)
        checks.number(self, "inner_clip", least=0)
        checks.number(self, "learning_rate", above=0)
        checks.number(self, "weight_decay", least=0)


class MetaTeacher(OuterStep):
    """A move of the live teachers, then the next step with what they answer now."""

    name = "meta_teacher"
    paper = "Zhou, Xu, McAuley: BERT Learns to Teach: Knowledge Distillation with Meta Learning, ACL 2022 (MetaDistil)"
    equation = "T <- T - b grad_T CE(S - a grad_S L(S, T); held-out), then S <- S - a grad_S L(S, T)"
    needs = frozenset({"target"})
    Config = MetaTeacherConfig

    def __init__(self, next_step: Step, context: Context, **hyperparameters: Any) -> None:
        super().__init__(next_step, context, **hyperparameters)
        self.teachers = dict(context.live_teachers)
        modules = self.teachers.values()
        self.learnt = [p for teacher in modules for p in teacher.parameters() if p.requires_grad]
        if not self.learnt:
            raise ValueError(
                "the step 'meta_teacher' has nothing to learn: give it a live teacher with trainable parameters"
            )
        self.optimizer = torch.optim.AdamW(
            self.learnt, lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.steps = 0

    def __call__(self, example: Example) -> Metrics:
        """Train the live teachers where it is their turn, then the student on the example."""
        outer: Metrics = {}
        if self.steps % self.config.every == 0:
            query = self.held_out.fetch(self.draw(self.config.batch_size))
            with twice_differentiable(self.distiller):
                loss = self.outer_loss(example, query)
                gradients_of(loss, self.learnt)
            self.optimizer.step()
            outer["meta_teacher/outer_loss"] = loss.detach()
        self.steps += 1
        with torch.no_grad():
            taught = with_live(self.teachers, example)
        return self.next_step(taught) | outer

    def outer_loss(self, example: Example, query: Example) -> Tensor:
        """Return the loss in the query of the student after its pilot step, a function of the teachers' parameters."""
        parameters = student_parameters(self.distiller)
        losses = losses_at(self.distiller, parameters, with_live(self.teachers, example))
        loss = losses.scalar(example.sample_weights)
        pilot = step_ahead(parameters, loss, self.config.inner_rate, self.config.inner_clip)
        return held_out_loss(self.distiller, pilot, query).mean()

    def own_state(self) -> dict[str, Any]:
        """Return draws, teachers, their optimiser and the count of steps."""
        return super().own_state() | {
            "steps": self.steps,
            "teachers": {name: teacher.state_dict() for name, teacher in self.teachers.items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take up draws, teachers, their optimiser and the count of steps."""
        super().load_own_state(state)
        self.steps = state["steps"]
        for name, teacher in self.teachers.items():
            teacher.load_state_dict(state["teachers"][name])
        self.optimizer.load_state_dict(state["optimizer"])


def with_live(teachers: Mapping[str, torch.nn.Module], example: Example) -> Example:
    """Return the example with the live teachers' outputs, computed in evaluation mode, in it."""
    outputs: dict[str, Output] = dict(example.teachers)
    for name, teacher in teachers.items():
        with evaluating(teacher):
            outputs[name] = teacher(example.teacher_inputs.get(name, example.inputs))
    return replace(example, teachers=outputs)
