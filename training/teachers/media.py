"""What tasks share whose samples are recordings, faces or sentences: every source of such media is a teacher of theirs.

Knows no corpus, and of the sources only that they are chosen by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.data.folder import Split
from training.data.task import Samples, TeacherBank
from training.distillation.outputs import Output
from training.models.answer import with_score
from training.names import check_name
from training.teachers.cache import SPLITS
from training.teachers.probe import ProbeRecipe
from training.teachers.probed import Features, FeatureSource, Lesson, probed_bank
from training.teachers.random_teacher import random_outputs
from training.teachers.sources import HUGGING_FACE, TEACHERS, make_source, teachers_of


class MediaTask(ABC):
    """The teachers of a task."""

    name: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    """The sentiment that each class stands for."""
    data: Path
    cache: Path
    """Folder for weights, prepared samples and teachers' outputs."""
    media_names: tuple[str, ...]
    """The modalities that `media` has."""
    own_teachers: tuple[str, ...] = ()
    """Those that `own_teacher` knows."""
    slots: int | None = None
    """Steps of the students' sequences, where they have any."""

    @abstractmethod
    def samples(self, split: Split) -> Samples:
        """See Task."""

    @abstractmethod
    def fingerprint(self) -> str:
        """See Task."""

    @abstractmethod
    def media(self, modality: str, split: Split) -> Sequence[Any]:
        """Return what sources read (training/teachers/sources.py), in the order of `samples`.

        Of a sample that lacks the modality something of the same kind; its features are set to 0.
        """

    @property
    @abstractmethod
    def fold(self) -> Tensor:
        """int64 [N], fold of every training sample."""

    def own_teacher(self, name: str) -> TeacherBank | None:
        """Return a teacher that is of this task alone, or None."""
        del name
        return None

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """See Task."""
        return tuple(dict.fromkeys((*self.own_teachers, *teachers_of(self.media_names), "random")))

    def teacher(self, name: str) -> TeacherBank:
        """Return one of the task's own, a small net over a source's features (`hf:NAME_OR_FOLDER` too), or noise."""
        own = self.own_teacher(name)
        if own is not None:
            return own
        if name == "random":
            return TeacherBank(name, self._random)
        source, recipe = self.source(name)
        return probed_bank(source, lambda: self.lesson, recipe)

    def source(self, name: str) -> tuple[FeatureSource, ProbeRecipe]:
        """Return the features of a source, computed once, and how a net over them is trained; raises ValueError."""
        if not name.startswith(HUGGING_FACE):
            check_name("teacher", name, self.teacher_names, f"; {HUGGING_FACE}NAME_OR_FOLDER takes any encoder")
        once = cache(lambda: make_source(name, self.cache / "teachers", self.media_names))

        def features() -> Features:
            return {split: self._described(once(), split) for split in SPLITS}

        return FeatureSource(name, lambda: once().key(), features), getattr(TEACHERS.get(name), "probe", ProbeRecipe())

    @property
    def lesson(self) -> Lesson:
        """What the small nets learn."""
        target = self.samples("train").target
        assert target is not None
        outputs = self.cache / "teacher_outputs" / self.name
        return Lesson(self.fingerprint(), target, self.fold, torch.tensor(self.values), outputs)

    def _described(self, source: Any, split: Split) -> Output:
        output: Output = source.features(self.media(source.reads, split), self.slots)
        present = self.samples(split).present[:, MODALITIES.index(source.reads)]
        output.features["vector"] = output.features["vector"] * present.unsqueeze(1)
        output.masks = {name: mask * present.unsqueeze(1) for name, mask in output.masks.items()}
        return output

    def _random(self, split: Split) -> Output:
        output = random_outputs(split, len(self.samples(split)), len(self.labels), self.slots)
        return with_score(output, torch.tensor(self.values))
