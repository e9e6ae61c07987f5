"""From a recipe and a task to all that the loop moves. Knows the contracts of task, distiller and steps; no files."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.data.task import Split, Task, hooks_of
from training.data.units import Units
from training.distillation import (
    Context,
    Distiller,
    Example,
    Metrics,
    Plain,
    Step,
    make_step,
)
from training.distillation.outputs import Output
from training.distillation.steps.lookahead import losses_at, student_parameters
from training.engine.checkpoint import State, seed_everything
from training.engine.feed import HeldOutSource, Order, Source, split_held_out
from training.engine.live import LiveTeacher, live_teachers
from training.engine.recipe import Recipe
from training.engine.schedule import cosine
from training.engine.tables import RecipeError
from training.names import nearest

log = logging.getLogger(__name__)

EXAMPLES = 4
"""Units that the trainable parts of methods and weighers are built from."""


@dataclass
class Assembly:
    """What one process of a run works with."""

    recipe: Recipe
    task: Task
    accelerator: Accelerator
    source: Source
    order: Order
    distiller: Distiller
    live: dict[str, LiveTeacher]
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    step: Step
    total_steps: int

    def train_on(self, example: Example) -> Metrics:
        """Move everything by one example."""
        metrics = self.step(replace(example, teacher_inputs={name: example.teachers[name] for name in self.live}))
        self.scheduler.step()
        return metrics

    def state(self) -> State:
        """Return the state of everything that a step changes, but random generators."""
        return {
            "distiller": self.distiller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "step": self.step.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {},
        }

    def load_state(self, state: State) -> None:
        """Take up what `state` returned."""
        self.distiller.load_state_dict(state["distiller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.step.load_state_dict(state["step"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def assemble(recipe: Recipe, task: Task, accelerator: Accelerator) -> Assembly:
    """Make the parts of a run, alike in every process.

    Raises:
        RecipeError: the recipe asks for what the task hasn't got, or parts don't fit together; says where.
        TeacherError: weights or packages of a teacher are missing.
    """
    seed_everything(recipe.seed)
    source, units, held_out = _sources(recipe, task, accelerator)
    total_steps = source.total_steps = recipe.budget.total_steps(len(units))
    order = Order(units, recipe.budget.batch, recipe.seed, accelerator.process_index, accelerator.num_processes)
    student = make_student(task, recipe.student)
    distiller = recipe.distiller(student, hooks_of(task).loss)
    distiller.to(accelerator.device)
    example = source.example(units.rows(torch.arange(min(EXAMPLES, len(units)))))
    try:
        distiller.build(example)
        with torch.no_grad():  # What a method finds wrong with the outputs' shapes is found before the first step.
            losses_at(distiller, student_parameters(distiller), example)
    except ValueError as error:
        raise RecipeError(f"methods: {error}") from error
    # Without the wrapping by DistributedDataParallel: `_backward` averages gradients, so that steps which differentiate
    # through a gradient need no hooks.
    distiller = accelerator.prepare_model(distiller.to(accelerator.device), evaluation_mode=True)
    optimizer = torch.optim.AdamW(
        _groups(distiller, recipe.budget.weight_decay), lr=recipe.budget.learning_rate, betas=(0.9, 0.98)
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(total_steps, recipe.budget.warmup))
    prepared = accelerator.prepare_optimizer(optimizer)
    live = live_teachers(example.teachers, accelerator.device) if _wants_live(recipe) else {}
    plain = Plain(
        distiller,
        prepared,
        recipe.budget.clip_norm or float("inf"),
        backward=lambda loss: _backward(accelerator, distiller, loss),
        clip=accelerator.clip_grad_norm_,
    )
    context = Context(distiller, held_out, live)
    try:
        step = make_step(plain, context, _outer_steps(recipe, distiller))
    except ValueError as error:
        raise RecipeError(f"step: {error}") from error
    return Assembly(recipe, task, accelerator, source, order, distiller, live, prepared, scheduler, step, total_steps)


def make_student(task: Task, name: str) -> nn.Module:
    """Return an untrained student; raises RecipeError that names the nearest."""
    if name not in task.student_names:
        raise RecipeError(f"student: {task.name} has no student {name!r}; {nearest(name, task.student_names)}")
    return task.student(name)


def teacher_outputs(task: Task, names: Sequence[str], split: Split) -> dict[str, Output]:
    """Return what the named teachers say about a split; raises RecipeError that names the nearest, or TeacherError."""
    outputs = {}
    for i, name in enumerate(names):
        try:
            bank = task.teacher(name)
        except ValueError as error:
            raise RecipeError(f"teachers.{i}: {error}") from error
        started = time.perf_counter()
        outputs[name] = bank.outputs(split)
        log.info("teacher %s on %s: %.1f s", name, split, time.perf_counter() - started)
    return outputs


def _sources(recipe: Recipe, task: Task, accelerator: Accelerator) -> tuple[Source, Units, HeldOutSource | None]:
    """The source of training samples, the units that the student learns from, and what is held out."""
    started = time.perf_counter()
    samples = task.samples("train")
    log.info("%s: %d training samples in %.1f s", task.name, len(samples), time.perf_counter() - started)
    for name in ("modality_dropout", "subsets"):
        if getattr(recipe, name) and "present" not in samples.inputs:
            raise RecipeError(
                f"{name}: the inputs of {task.name} don't say which modalities are `present`, so none can be hidden; "
                f"leave it out"
            )
    teachers = teacher_outputs(task, recipe.teachers, "train")
    source = Source(samples, teachers, accelerator.device, 0, hooks_of(task).prepare, recipe.seed)
    if not recipe.needs_held_out:
        return source, Units.of(samples.unit, torch.arange(len(samples))), None
    kept, held = (Units.of(samples.unit, part) for part in split_held_out(samples, recipe.held_out, recipe.seed))
    return source, kept, HeldOutSource(source, held)


def _outer_steps(recipe: Recipe, distiller: Distiller) -> dict[str, dict[str, object]]:
    """Outer steps with their hyper-parameters; they draw by the recipe's seed."""
    steps = {choice.name: {"seed": recipe.seed, **choice.options} for choice in recipe.step}
    if distiller.learnt_by_outer_step():
        steps.setdefault("meta", {"seed": recipe.seed})
    return steps


def _wants_live(recipe: Recipe) -> bool:
    return any(choice.name == "meta_teacher" for choice in recipe.step)


def _groups(distiller: Distiller, weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices only: norms and biases are left free."""
    parameters = distiller.learnt_by_loss()
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _backward(accelerator: Accelerator, distiller: nn.Module, loss: Tensor) -> None:
    """Compute gradients, and average them over the processes in one exchange."""
    accelerator.backward(loss)
    if accelerator.num_processes == 1:
        return
    parameters = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    mean = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for parameter, part in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
