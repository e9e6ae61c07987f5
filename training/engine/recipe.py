"""Recipes: one run of distillation as typed configuration, read from TOML and overridable on the command line.

Knows which methods, weighers and steps there are, and what each takes; tasks, students and teachers are checked by
`training.engine.assembly`, since only a task can say which it has.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

from torch import nn

from training.distillation import METHODS, STEPS, WEIGHERS, Distiller, Method, Weigher
from training.distillation.distiller import Loss, supervised
from training.engine.tables import RecipeError, Table, from_table, join, override
from training.names import nearest

Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True)
class Choice:
    """Something out of a registry, with its hyper-parameters."""

    registry: ClassVar[Mapping[str, type[Any]]]
    name: str
    """Key in the registry."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What its Config takes."""

    @classmethod
    def read(cls, value: Any, where: str) -> Self:
        """Check and take a table with a name and options beside it; raises RecipeError."""
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise RecipeError(f"{where}: expected a name, or a table with a `name`, got {value!r}")
        name = value["name"]
        if name not in cls.registry:
            raise RecipeError(f"{join(where, 'name')}: {name!r} is unknown; {nearest(name, cls.registry)}")
        options = {key: option for key, option in value.items() if key != "name"}
        from_table(cls.registry[name].Config, options, where)
        return cls(name, options)

    def make(self, *parts: Any) -> Any:
        """Return what is chosen, made of `parts` and the options."""
        return self.registry[self.name](*parts, **self.options)

    def table(self) -> Table:
        """Return the choice as a recipe writes it."""
        return {"name": self.name, **self.options}


@dataclass(frozen=True)
class WeigherChoice(Choice):
    """How teachers are weighted."""

    registry = WEIGHERS


@dataclass(frozen=True)
class StepChoice(Choice):
    """An outer step."""

    registry = STEPS


@dataclass(frozen=True)
class MethodChoice(Choice):
    """A method; its `weigher`, where there is one, is for this method alone."""

    registry = METHODS
    weigher: WeigherChoice | None = None
    """In the place of the recipe's weigher."""

    @classmethod
    def read(cls, value: Any, where: str) -> Self:
        """Check and take a table with a name, options and perhaps a weigher; raises RecipeError."""
        if not isinstance(value, Mapping) or "weigher" not in value:
            return super().read(value, where)
        method = super().read({key: option for key, option in value.items() if key != "weigher"}, where)
        weigher = WeigherChoice.read(_spelled(value["weigher"]), join(where, "weigher"))
        return replace(method, weigher=weigher)

    def table(self) -> Table:
        """Return the choice as a recipe writes it."""
        return super().table() | ({} if self.weigher is None else {"weigher": self.weigher.table()})


@dataclass(frozen=True)
class Labels:
    """The part of the loss that comes from labels: cross entropy of classes, squared error of scores."""

    weight: float = 1.0
    """Factor; 0 learns from teachers alone."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")


@dataclass(frozen=True)
class Budget:
    """How long, how fast, and when to stop."""

    epochs: float = 20.0
    """Passes over the training samples; a part of one is allowed. Ignored where `steps` is given."""
    steps: int = 0
    """Optimiser steps; 0: as many as `epochs` makes."""
    seconds: float = 0.0
    """Stop at the first evaluation after this time; 0: no limit. A run that it stops can't be repeated exactly."""
    batch: int = 64
    """Samples in a step, over all processes; conversations, where samples are utterances."""
    learning_rate: float = 2e-3
    """Peak of the schedule: linear warm-up, then a cosine to 0."""
    weight_decay: float = 0.01
    """AdamW's, on matrices only."""
    warmup: float = 0.1
    """Part of the steps that the warm-up takes, in [0, 1)."""
    clip_norm: float = 1.0
    """Greatest norm of the gradient; 0: not clipped."""
    evaluations: int = 0
    """How often validation is measured, evenly over the run; 0: once in 100 steps, at most 20 times, so that a short
    run doesn't spend its time there."""
    patience: int = 0
    """Evaluations without a better one after which the run stops; 0: never."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("steps", "seconds", "weight_decay", "clip_norm", "evaluations", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be in [0, 1), got {self.warmup}")

    def total_steps(self, units: int) -> int:
        """Return the optimiser steps on so many training samples or conversations; an epoch leaves its last, smaller
        batch out."""
        return self.steps or max(1, round(self.epochs * (units // self.batch)))


@dataclass(frozen=True)
class Recipe:
    """One run: what is taught to whom by whom, and how."""

    task: str
    """Key in `training.data.tasks.TASKS`."""
    name: str = ""
    """What tables call the run; empty: made of the methods, weigher and step."""
    student: str = "default"
    """One of the task's students."""
    teachers: tuple[str, ...] = ()
    """Any of the task's teachers."""
    methods: tuple[MethodChoice, ...] = ()
    """What is matched; their terms add up. Options of the method stand beside its name."""
    weigher: WeigherChoice = WeigherChoice("uniform")
    """How teachers are weighted."""
    step: tuple[StepChoice, ...] = ()
    """Outer steps around the student's, in any order; none, or `plain`: the student's alone. A meta-learned weigher
    brings its own."""
    labels: Labels = Labels()
    """The loss on labels."""
    budget: Budget = Budget()
    """Length and pace."""
    held_out: float = 0.1
    """Part of the training samples that steps with an outer objective learn their weights on, and the student never
    sees: whole conversations or speakers, where known. Other steps train on everything."""
    modality_dropout: float = 0.0
    """Probability that a modality of a training sample is hidden from the student, in [0, 1); at least one that it has
    stays. Teachers' outputs are of the complete sample. What validation chooses by is then the mean over the subsets of
    modalities, as the student is to do without some. Only where a task's inputs say what is `present`."""
    precision: Precision = "no"
    """Autocast of the student's forward pass: `bf16` also on a CPU, `fp16` on a GPU, `no` for float32."""
    subsets: bool = False
    """Also measure the chosen student on test with every subset of modalities, and with 0 to 90 % of them missing."""
    predictions: bool = False
    """Also keep what the chosen student says about every sample of test, in `predictions.npz`."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise RecipeError(f"precision: {self.precision!r}; {nearest(self.precision, get_args(Precision))}")
        if not 0 < self.held_out < 1:
            raise RecipeError(f"held_out must be in (0, 1), got {self.held_out}")
        if not 0 <= self.modality_dropout < 1:
            raise RecipeError(f"modality_dropout must be in [0, 1), got {self.modality_dropout}")
        if self.methods and not self.teachers:
            raise RecipeError("methods: there is nobody to learn from; add teachers = [...]")
        if self.teachers and not self.methods:
            raise RecipeError('teachers: nothing is learned from them; add [[methods]] with, say, name = "kd"')
        if not self.methods and self.labels.weight == 0:
            raise RecipeError("labels.weight is 0 and there are no methods: nothing to learn")
        if len(set(self.teachers)) < len(self.teachers):
            raise RecipeError(f"teachers: a name stands there twice: {', '.join(self.teachers)}")

    @property
    def needs_held_out(self) -> bool:
        """Whether an outer step learns on samples that are kept from the student."""
        weighers = [self.weigher, *(method.weigher for method in self.methods if method.weigher is not None)]
        meta_learned = any(choice.make().meta_learned for choice in weighers)
        return bool(self.step) or (bool(self.methods) and meta_learned)

    def distiller(self, student: nn.Module, loss: Loss = supervised) -> Distiller:
        """Return the methods and weighers around a student, and its loss on labels; `build` must follow.

        Methods are called by their names, and from the second of a name on with a number behind it.
        """
        made: dict[str, Method] = {}
        weighers: dict[str, Weigher] = {}
        for i, choice in enumerate(self.methods):
            earlier = sum(other.name == choice.name for other in self.methods[:i])
            label = f"{choice.name}{earlier + 1}" if earlier else choice.name
            made[label] = choice.make()
            if choice.weigher is not None:
                weighers[label] = choice.weigher.make()
        return Distiller(student, made, self.weigher.make(), weighers, loss, self.labels.weight)

    @property
    def title(self) -> str:
        """Name for tables."""
        if self.name:
            return self.name
        parts = [method.name for method in self.methods] or ["plain"]
        parts += [choice.name for choice in (self.weigher, *self.step) if choice.name != "uniform"]
        return " + ".join(dict.fromkeys(parts))

    def table(self) -> Table:
        """Return the recipe as TOML's types, for reports; `recipe_of` reads it back."""
        return {
            **asdict(self),
            "teachers": list(self.teachers),
            "methods": [method.table() for method in self.methods],
            "weigher": self.weigher.table(),
            "step": [step.table() for step in self.step],
        }


def recipe_of(table: Mapping[str, Any], settings: Sequence[str] = ()) -> Recipe:
    """Make a recipe from a table, with `path.to.key=value` settings applied to it; raises RecipeError."""
    return from_table(Recipe, _spelled_out(override(_spelled_out(table), settings)))


def read_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe's file.

    Raises:
        RecipeError: no such file, no TOML, or a recipe that cannot be run; says which file and where in it.
    """
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        beside = [file.name for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise RecipeError(f"{path}: no such recipe; {nearest(path.name, beside)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise RecipeError(f"{path}: {error}") from error
    try:
        return recipe_of(table, settings)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _spelled_out(table: Mapping[str, Any]) -> Table:
    """Write names that stand for lists and tables as such, so that settings find their way into them; no `plain`."""
    result = dict(table)
    for key in ("teachers", "methods", "step"):
        if isinstance(result.get(key), (str, Mapping)):
            result[key] = [result[key]]
    for key in ("methods", "step"):
        if isinstance(result.get(key), (list, tuple)):
            result[key] = [_spelled(item) for item in result[key] if item not in ("plain", {"name": "plain"})]
    if "weigher" in result:
        result["weigher"] = _spelled(result["weigher"])
    return result


def _spelled(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value
