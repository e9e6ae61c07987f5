"""Teachers that are a frozen source of features with a small net on top, trained on the task's labels, out of fold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.data.task import Split, TeacherBank
from training.distillation.outputs import Output
from training.models.answer import with_score
from training.teachers.cache import SPLITS, OutputCache, Recipe, tensor_sha256
from training.teachers.probe import ProbeRecipe, out_of_fold

Features = Mapping[Split, Output]
"""Of every split: "vector" [N, F], which the small net reads, and sequences "h1", ... with masks."""


@dataclass(frozen=True)
class Lesson:
    """What a teacher of a task is trained on."""

    fingerprint: str
    """Of the task's samples."""
    target: Tensor
    """int64 [N], of the training samples."""
    fold: Tensor
    """int64 [N], of the training samples."""
    values: Tensor
    """float32 [C], the sentiment that each class stands for."""
    cache: Path
    """Folder of teachers' outputs."""

    @property
    def classes(self) -> int:
        """C."""
        return len(self.values)


@dataclass(frozen=True)
class FeatureSource:
    """A frozen source's features of a task's samples, computed once and kept: whoever learns from them reads them."""

    name: str
    """Of the source, and of the teacher that is a small net over it."""
    key: Callable[[], Recipe]
    """What the features depend on, besides the samples."""
    compute: Callable[[], Features]
    """Computes those of all splits."""

    def recipe(self, lesson: Lesson) -> Recipe:
        """Return all that they depend on."""
        return {**self.key(), "samples": lesson.fingerprint}

    def features(self, lesson: Lesson) -> Features:
        """Return them for every split."""
        store, recipe = OutputCache(lesson.cache), self.recipe(lesson)
        return {split: store.get(f"{self.name}.features", recipe, split, self.compute) for split in SPLITS}


def probed_bank(source: FeatureSource, find_lesson: Callable[[], Lesson], recipe: ProbeRecipe) -> TeacherBank:
    """Return a teacher whose features and outputs are both cached: other hyper-parameters don't read the corpus again.

    Args:
        source: of the features; the teacher has its name.
        find_lesson: gives labels and folds.
        recipe: of the small net.
    """

    def compute(split: Split) -> Output:
        lesson = find_lesson()
        whole = {
            **source.recipe(lesson),
            "probe": recipe.key(),
            "classes": lesson.values.tolist(),
            "lesson": tensor_sha256(lesson.fold, lesson.target),
        }
        store = OutputCache(lesson.cache)
        return store.get(source.name, whole, split, lambda: taught(source.features(lesson), lesson, recipe))

    return TeacherBank(source.name, compute)


def taught(features: Features, lesson: Lesson, recipe: ProbeRecipe) -> dict[Split, Output]:
    """Train the small nets and return whole outputs; sequences are standardised by the statistics of `train`."""
    vectors: dict[Split, Tensor] = {split: output.features["vector"].float() for split, output in features.items()}
    outputs = out_of_fold(vectors, lesson.target, lesson.fold, lesson.classes, recipe)
    sequences = [name for name in features["train"].features if name != "vector"]
    for split, output in outputs.items():
        layers = {name: _standardised(features, name, split) for name in sequences or ("vector",)}
        if not sequences:
            layers = {"h1": layers["vector"]}
        output.features = layers | output.features
        output.masks = dict(features[split].masks)
        with_score(output, lesson.values)
    return outputs


def _standardised(features: Features, name: str, split: Split) -> Tensor:
    """Give every channel mean 0 and deviation 1 over the training samples' steps, so that layers weigh alike."""
    train, mask = features["train"].features[name].float(), features["train"].masks.get(name)
    known = train[mask > 0] if mask is not None else train.flatten(0, -2)
    mean, deviation = known.mean(0), known.std(0) + 1e-5
    scaled = ((features[split].features[name].float() - mean) / deviation).clamp(-10, 10)
    own = features[split].masks.get(name)
    return scaled if own is None else torch.where(own.unsqueeze(-1) > 0, scaled, 0.0)
