"""The outer step of meta-learned weights: which weights would have made the student better on hard held-out samples?
(MMKD)

Zhang, Chen, Wang, *Adaptive Multi-Teacher Knowledge Distillation with Meta-Learning*, ICME 2023. Every `every` steps:

    theta'(phi) = theta - inner_rate grad_theta mean_B sum_k w_k(phi) L_k(theta)      w, phi: weighers/meta.py
    phi <- Adam(phi, grad_phi CE(theta'(phi); query set))                             second order in theta

L_k: the methods' terms of teacher k on the batch that the student was just trained on; query set: held-out samples,
drawn from all of them, or, as the paper has it, from a buffer into which, once it is full, only those come that the
student has just got wrong (`query = "hard"`). On hard ones alone, where the student is certain and wrong, whatever
makes it less certain helps, and nobody does that better than a teacher who answers at random: on RAVDESS such a teacher
got the most weight of three, .387, and .254 with easy samples too.

Differences to the authors' code: its buffer holds training samples that were answered wrongly, the query set held-out
samples, so that weights are not rewarded for what helps to memorise; its lookahead is two steps on the matching terms
and one on the cross entropy, all three on the buffer itself, here `inner_steps` on the training batch, whose teachers
are known; it keeps copies of the inputs, this one indices; and its lookahead is as long as the terms are large, this
one is clipped as the student's own step is, or `rkd` and `fitnet` with their usual factors would throw the student out
of where it learns. Without `evenness` the weights of equally good teachers drift apart, as Adam magnifies whatever
small gradient there is, until one is left. The adapters of feature methods look ahead there, and stand still here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from training.distillation.distiller import Losses
from training.distillation.example import Example
from training.distillation.methods import checks
from training.distillation.steps.base import Context, Metrics, OuterStep, Step
from training.distillation.steps.buffer import HardBuffer
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
class MetaStepConfig:
    """Hyper-parameters of the outer step."""

    every: int = 5
    """Student steps to one outer step."""
    inner_rate: float = 0.5
    """Size of the lookahead's gradient step."""
    inner_clip: float = 1.0
    """Greatest norm of the lookahead's gradient, so that terms of any scale are looked ahead with; 0: not clipped."""
    inner_steps: int = 1
    """Gradient steps of the lookahead. The student that the weigher sees is a constant, as in the authors' code: from
    the second step on, what the weights owe to the student having moved is left out of the gradient."""
    inner: Literal["matching", "full"] = "matching"
    """Whether it descends on the weighted terms alone, or on the task as well."""
    evenness: float = 0.1
    """Factor of KL(uniform || w): teachers that serve the student equally well then count equally; 0 as published."""
    learning_rate: float = 5e-3
    """Of the weights' optimiser, Adam."""
    weight_decay: float = 1e-4
    """Of the same."""
    query: Literal["all", "hard"] = "all"
    """Which held-out samples decide: any, or those that the student got wrong, as published."""
    buffer_size: int = 256
    """With `hard`: held-out samples in the buffer; conversations, where samples are utterances."""
    batch_size: int = 64
    """Held-out samples of the query set at each outer step, and with `hard` as many candidates for the buffer."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        for field in ("every", "inner_steps", "buffer_size", "batch_size"):
            checks.count(self, field)
        checks.count(self, "seed", least=0)
        checks.number(self, "inner_rate", above=0)
        checks.number(self, "inner_clip", least=0)
        checks.number(self, "evenness", least=0)
        checks.number(self, "learning_rate", above=0)
        checks.number(self, "weight_decay", least=0)
        checks.choice(self, "inner", ("matching", "full"))
        checks.choice(self, "query", ("all", "hard"))


def unevenness(losses: Losses) -> Tensor:
    """Return the mean of KL(uniform || w) over the samples and the weighers that learn: 0 for equal weights."""
    # A weight that has underflowed would have no gradient that leads it back.
    logs = [-weights.clamp(min=1e-12).log().mean() - math.log(weights.shape[1]) for weights in losses.learned]
    return torch.stack(logs).mean()


class MetaStep(OuterStep):
    """The next step, and every few steps a move of the meta-learned weighers."""

    name = "meta"
    paper = "Zhang, Chen, Wang: Adaptive Multi-Teacher Knowledge Distillation with Meta-Learning, ICME 2023 (MMKD)"
    equation = "phi <- phi - b grad_phi CE(theta - a grad_theta sum_k w_k(phi) L_k; query set)"
    needs = frozenset({"target"})
    Config = MetaStepConfig

    def __init__(self, next_step: Step, context: Context, **hyperparameters: Any) -> None:
        super().__init__(next_step, context, **hyperparameters)
        self.learnt = self.distiller.learnt_by_outer_step()
        if not self.learnt:
            raise ValueError("the step 'meta' has nothing to learn: choose a meta-learned weigher, and build it before")
        self.optimizer = torch.optim.Adam(
            self.learnt, lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.buffer = HardBuffer(self.config.buffer_size)
        self.steps = 0

    def __call__(self, example: Example) -> Metrics:
        """Train the student on the example, and the weights where it is their turn."""
        metrics = self.next_step(example)
        self.steps += 1
        if self.steps % self.config.every == 0:
            query = self.held_out.fetch(self._query())
            with twice_differentiable(self.distiller):
                loss = self.outer_loss(example, query)
                gradients_of(loss, self.learnt)
            self.optimizer.step()
            metrics["meta/outer_loss"] = loss.detach()
        return metrics

    def outer_loss(self, example: Example, held_out: Example) -> Tensor:
        """Return the held-out loss of the student after its lookahead, and how uneven the weights are.

        It is a function of the weighers' parameters.
        """
        parameters = student_parameters(self.distiller)
        uneven: Tensor | None = None
        for _ in range(self.config.inner_steps):
            losses = losses_at(self.distiller, parameters, example)
            uneven = unevenness(losses) if uneven is None else uneven
            inner = losses.matching if self.config.inner == "matching" else losses.per_sample
            parameters = step_ahead(parameters, inner.mean(), self.config.inner_rate, self.config.inner_clip)
        assert uneven is not None
        evenness: float = self.config.evenness
        return held_out_loss(self.distiller, parameters, held_out).mean() + evenness * uneven

    def _query(self) -> list[int]:
        """Draw the query set's indices."""
        if self.config.query == "all":
            return self.draw(self.config.batch_size)
        self._fill_buffer()
        return self.buffer.sample(self.config.batch_size, self.generator)

    @torch.no_grad()
    def _fill_buffer(self) -> None:
        candidates = self.draw(self.config.batch_size)
        example = self.held_out.fetch(candidates)
        with evaluating(self.distiller.student):
            output = self.distiller.student(example.inputs)
        if output.logits is not None and example.batch.target is not None:
            hard = output.logits.argmax(dim=1) != example.batch.target
        else:
            loss = self.distiller.task(output.lifted(), example.batch)
            hard = loss > loss.median()
        self.buffer.offer(candidates, _hard_units(hard, example.batch.unit).tolist(), self.generator)

    def own_state(self) -> dict[str, Any]:
        """Return draws, buffer, optimiser and count of steps."""
        return super().own_state() | {
            "steps": self.steps,
            "buffer": self.buffer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take up draws, buffer, optimiser and count of steps."""
        super().load_own_state(state)
        self.steps = state["steps"]
        self.buffer.load_state_dict(state["buffer"])
        self.optimizer.load_state_dict(state["optimizer"])


def _hard_units(hard: Tensor, unit: Tensor | None) -> Tensor:
    """Whether any sample of a unit is hard, [K] of the K units in `unit` [B]; without units, of the samples."""
    if unit is None:
        return hard
    numbers, place = torch.unique_consecutive(unit, return_inverse=True)
    return torch.zeros(len(numbers), device=hard.device).index_add(0, place, hard.float()) > 0
