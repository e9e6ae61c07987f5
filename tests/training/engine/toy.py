"""A task of gaussian blobs, small enough that a run takes a second: sequences of noisy class centres."""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from training.data.task import Inputs, Samples, Split, TeacherBank
from training.distillation.outputs import Output

CLASSES, STEPS, WIDTH, SPEAKERS = 4, 6, 8, 10
SIZES: dict[Split, int] = {"train": 192, "valid": 96, "test": 96}
NOISE = 1.0


class ToyStudent(nn.Module):
    """Two layers over the steps and a head over their mean, with dropout."""

    def __init__(self, dropout: float = 0.1, width: int = 12) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, inputs: Inputs) -> Output:
        mask = inputs["x_mask"].float()
        early = torch.relu(self.first(inputs["x"].float()))
        late = self.dropout(torch.relu(self.second(early)))
        mean = (late * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        logits: Tensor = self.head(mean)
        score = torch.softmax(logits.float(), -1) @ torch.linspace(-1, 1, CLASSES)
        features = {"h1": early, "h2": late, "penultimate": mean}
        return Output(logits, score, features=features, masks={"h1": mask, "h2": mask})


class ToyTask:
    """Blobs; teachers "good", "fair" and "random"; `missing` raises as a teacher without weights does."""

    name = "toy"
    labels = ("a", "b", "c", "d")
    metric = "accuracy"
    teacher_names = ("good", "fair", "random", "missing")
    student_names = ("default", "steady")

    def __init__(self, _: Path | None = None) -> None:
        self.samples: Callable[[Split], Samples] = cache(self._samples)

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        if "TOY_QUIET_AUGMENT" in os.environ:
            return inputs
        noise = torch.randn(inputs["x"].shape, generator=generator)
        return {**inputs, "x": inputs["x"].float() + 0.05 * noise}

    def student(self, name: str = "default") -> nn.Module:
        return ToyStudent(0.0 if name == "steady" else 0.1)

    def teacher(self, name: str) -> TeacherBank:
        if name not in self.teacher_names:
            raise ValueError(f"toy has no teacher {name!r}")
        return TeacherBank(name, cache(lambda split: self._teach(name, split)))

    def fingerprint(self) -> str:
        return hashlib.sha256(b"toy").hexdigest()

    def _samples(self, split: Split) -> Samples:
        generator = torch.Generator().manual_seed(list(SIZES).index(split))
        count = SIZES[split]
        target = torch.arange(count) % CLASSES
        centres = torch.eye(CLASSES).repeat(1, WIDTH // CLASSES)
        x = centres[target][:, None] + NOISE * torch.randn(count, STEPS, WIDTH, generator=generator)
        mask = torch.ones(count, STEPS)
        mask[::3, -2:] = 0
        return Samples(
            {"x": x, "x_mask": mask},
            target,
            torch.linspace(-1, 1, CLASSES)[target],
            {"speaker": torch.arange(count) % SPEAKERS, "gender": torch.arange(count) % 2},
            [f"{split}-{i}" for i in range(count)],
            torch.tensor([1.0, 0.0, 0.0]).expand(count, 3),
        )

    def _teach(self, name: str, split: Split) -> Output:
        if name == "missing":
            raise FileNotFoundError(
                "the weights of teacher 'missing' are not there: run `python -m training fetch-teachers`"
            )
        samples = self.samples(split)
        assert samples.target is not None
        generator = torch.Generator().manual_seed(100 + len(name))
        truth = nn.functional.one_hot(samples.target, CLASSES).float()
        strength = {"good": 3.0, "fair": 1.5, "random": 0.0}[name]
        logits = strength * truth + torch.randn(len(samples), CLASSES, generator=generator)
        project = torch.randn(CLASSES, 10, generator=generator)
        features = (logits @ project)[:, None] + 0.1 * torch.randn(len(samples), STEPS, 10, generator=generator)
        score = torch.softmax(logits, -1) @ torch.linspace(-1, 1, CLASSES)
        return Output(
            logits,
            score,
            torch.full_like(score, 0.1),
            {"h1": features.half(), "penultimate": features.mean(1).half()},
            {"h1": samples.inputs.get("x_mask", torch.ones(len(samples), STEPS))},
        )


class TalkStudent(nn.Module):
    """Sums what audio and text say, looks at the mean of the conversation, and classifies."""

    def __init__(self) -> None:
        super().__init__()
        self.readers = nn.ModuleDict({"audio": nn.Linear(WIDTH, 12), "text": nn.Linear(WIDTH, 12)})
        self.head = nn.Linear(24, CLASSES)

    def forward(self, inputs: Inputs) -> Output:
        read = []
        for name, place in (("audio", 0), ("text", 2)):
            here = inputs["present"][:, place : place + 1]
            read.append(here * torch.relu(self.readers[name](torch.where(here > 0, inputs[name], 0.0))))
        own = torch.stack(read).sum(0)
        same = (inputs["conversation"][:, None] == inputs["conversation"]).to(own.dtype)
        context = same @ own / same.sum(1, keepdim=True)
        logits: Tensor = self.head(torch.cat([own, context], dim=1))
        score = torch.softmax(logits, -1) @ torch.linspace(-1, 1, CLASSES)
        return Output(logits, score, features={"penultimate": own}, present=inputs["present"])


class TalkTask(ToyTask):
    """Conversations of 1 to 7 utterances, whose audio and text are noisy class centres; some lack their audio."""

    name = "talk"
    student_names = ("default",)

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        return inputs

    def student(self, name: str = "default") -> nn.Module:
        return TalkStudent()

    def _samples(self, split: Split) -> Samples:
        blobs = super()._samples(split)
        count = len(blobs)
        unit = torch.repeat_interleave(torch.arange(count), torch.arange(count) % 7 + 1)[:count]
        present = torch.tensor([1.0, 0.0, 1.0]).repeat(count, 1)
        present[::5, 0] = 0
        audio, text = blobs.inputs["x"][:, 0].clone(), blobs.inputs["x"][:, 1]
        audio[::5] = float("nan")
        inputs = {"audio": audio, "text": text, "present": present, "conversation": unit}
        return Samples(inputs, blobs.target, blobs.score, blobs.groups, blobs.ids, present, unit)

    def _teach(self, name: str, split: Split) -> Output:
        said = super()._teach(name, split)
        return Output(said.logits, said.score, said.variance, {"penultimate": said.features["penultimate"]})


TASKS = {"toy": ToyTask, "talk": TalkTask}
"""For workers, which find their task by a registry's name."""
REGISTRY = "tests.training.engine.toy:TASKS"
