"""A task: which half of a picture is the lighter one."""

from pathlib import Path

import torch

from training.data.task import Samples
from training.models.students.face import PlainStudent
from training.teachers.media import MediaTask


class Colours(MediaTask):
    """Pictures uint8 [N, 48, 48]; every source of faces teaches it, ours too."""

    name = "colours"
    labels = ("left", "right", "neither")
    values = (-1.0, 1.0, 0.0)
    metric = "accuracy"
    media_names = ("video",)
    student_names = ("default",)

    def __init__(self, data, cache=Path("cache")):
        self.data, self.cache = data, cache

    def samples(self, split):
        """Noise, lighter on one side."""
        count, seed = {"train": (96, 0), "valid": (24, 1), "test": (24, 2)}[split]
        target = torch.arange(count) % 3
        face = torch.randint(0, 120, (count, 48, 48), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        face[target == 0, :, :24] += 80
        face[target == 1, :, 24:] += 80
        return Samples(
            {"face": face},
            target,
            torch.tensor(self.values)[target],
            ids=[f"{split}-{i}" for i in range(count)],
            present=torch.tensor([0.0, 1.0, 0.0]).repeat(count, 1),
        )

    def augment(self, inputs, generator):
        """As they are."""
        del generator
        return inputs

    def student(self, name="default"):
        """One of ours."""
        del name
        return PlainStudent(self.values)

    def fingerprint(self):
        """Of the drawing above."""
        return "colours-1"

    @property
    def fold(self):
        """Three."""
        return torch.arange(96) // 3 % 3

    def media(self, modality, split):
        """The pictures."""
        del modality
        return list(self.samples(split).inputs["face"].numpy())
