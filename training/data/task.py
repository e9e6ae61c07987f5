"""What a run of distillation is made on: a corpus in memory, its students, and what its teachers say about it.

The seam between data and loop: the loop sees tensors and `Output`s, and knows neither files nor teachers' networks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import torch
from torch import Tensor, nn

from training.distillation.distiller import supervised
from training.distillation.example import Example
from training.distillation.outputs import Batch, Output
from training.distillation.outputs import Inputs as Inputs

Split = Literal["train", "valid", "test"]
RECORDING: Final = "recording"
"""Group of the samples that are cut out of one recording."""


@dataclass(frozen=True)
class Samples:
    """One split of N samples, as tensors in memory."""

    inputs: Inputs
    """[N, ...], float16 or uint8 where large."""
    target: Tensor | None = None
    """int64 [N], class index in the order of the task's labels."""
    score: Tensor | None = None
    """float32 [N], continuous sentiment in [-1, 1]."""
    groups: dict[str, Tensor] = field(default_factory=dict)
    """Name ("speaker", "gender", `RECORDING`) -> int64 [N]: for evaluation per group, for folds that share no group,
    and for tests of significance."""
    ids: list[str] = field(default_factory=list)
    """A name for every sample, unique in the split."""
    present: Tensor = field(default_factory=lambda: torch.zeros(0, 3))
    """[N, 3], 1 where the sample has audio, video, text."""
    unit: Tensor | None = None
    """int64 [N], number of the conversation that the sample is an utterance of. Its samples stand together in time
    order, and always come together in a batch. None: every sample is for itself."""
    labels: dict[str, Tensor] = field(default_factory=dict)
    """Name -> [N, ...]: further labels, which the task's own loss reads."""

    def __len__(self) -> int:
        return len(self.present)

    @property
    def cluster(self) -> Tensor:
        """int64 [N], number of what a sample shares with others, so that it says less by itself: its recording, its
        conversation, or else the sample alone."""
        if RECORDING in self.groups:
            return self.groups[RECORDING]
        return torch.arange(len(self)) if self.unit is None else self.unit

    def take(self, index: Tensor) -> "Samples":
        """Return the samples at `index` (int64 [M]), in that order."""
        return Samples(
            {name: tensor[index] for name, tensor in self.inputs.items()},
            None if self.target is None else self.target[index],
            None if self.score is None else self.score[index],
            {name: tensor[index] for name, tensor in self.groups.items()},
            [self.ids[i] for i in index.tolist()],
            self.present[index],
            None if self.unit is None else self.unit[index],
            {name: tensor[index] for name, tensor in self.labels.items()},
        )


@dataclass(frozen=True)
class TeacherBank:
    """What one teacher says about every sample of a split; of a training sample that it has seen, out of fold.

    An overfit teacher has nothing to teach: where a teacher is trained on the task's samples, its outputs on `train`
    come from nets that have not seen that sample (on RAVDESS: that speaker).
    """

    name: str
    compute: Callable[[Split], Output]
    """Computes, or reads from the cache on disk."""
    seen: bool = False
    """Whether its outputs on `train` are not out of fold: somebody else trained it on these samples."""

    def outputs(self, split: Split) -> Output:
        """Return the outputs for all N samples, on the CPU, in the order of `Task.samples(split)`.

        `logits` float32 [N, C], `score` and `variance` [N]. `features`: "h1", "h2", ..., float16 [N, T, D] (sequences,
        at the students' steps, 10 Hz for audio, with `masks` [N, T]) or [N, D, H, W], or float32 [N, D] where the
        teacher has no positions; and "penultimate", float32 [N, D]. What is cached is mapped from disk, so it costs
        memory as it is read; don't write into it.

        Raises:
            TeacherError: the teacher's weights or a package are missing; says which command brings them.
        """
        return self.compute(split)


@dataclass(frozen=True)
class Hooks:
    """What a task does in its own way, where tensors alone don't say it. Each has a default that most tasks keep."""

    loss: Callable[[Output, Batch], Tensor] = supervised
    """[B], against the labels."""
    prepare: Callable[[Example, torch.Generator], Example] | None = None
    """Makes what a student reads of what `samples` holds, with teachers' features and labels alike: a stretch of a
    recording, say. Drawn from the generator; for training samples only, validation's are as students read them."""
    measures: Callable[[Output, Samples], dict[str, float]] | None = None
    """Further measures of a split, beside the engine's; `Task.metric` may be one of them."""
    calibrate: Callable[[nn.Module, Output, Samples], None] | None = None
    """Takes the chosen student and its outputs on validation, and puts temperatures into it (Guo et al. 2017)."""


def hooks_of(task: "Task") -> Hooks:
    """Return the hooks of a task, the defaults where it has no attribute `hooks`."""
    hooks: Hooks = getattr(task, "hooks", Hooks())
    return hooks


class Task(Protocol):
    """A corpus with its students and teachers. It may have `hooks` besides."""

    name: str
    labels: tuple[str, ...]
    metric: str
    """Validation metric that chooses the checkpoint: `accuracy`, `macro_f1`, `weighted_f1` (higher is better) or `mae`
    (lower is)."""
    student_names: tuple[str, ...]
    """The first is "default"."""

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """Every teacher with a name of its own; `hf:NAME_OR_FOLDER` is taken besides."""
        ...

    def samples(self, split: Split) -> Samples:
        """Return one split, loaded once."""
        ...

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Return a batch's inputs with seeded noise on them, same shapes, as floats where the students want floats."""
        ...

    def student(self, name: str = "default") -> nn.Module:
        """Return an untrained student: forward(inputs) -> Output with features "h1", "h2", ..., "penultimate", masks.

        It takes inputs as `samples` gives them and as `augment` gives them. Initialised from torch's global generator.

        Raises:
            ValueError: no such student; names the nearest.
        """
        ...

    def teacher(self, name: str) -> TeacherBank:
        """Return what a teacher says; nothing is computed before its outputs are asked for.

        Raises:
            ValueError: no such teacher; names the nearest.
        """
        ...

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything that decides what `samples` gives: files and preparation."""
        ...
