"""Teachers that are a frozen source of features with a small net on top, trained on the task's labels, out of fold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.outputs import Output
from training.tasks.base import Split, TeacherBank
from training.tasks.heads import with_score
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


def probed_bank(
    name: str,
    key: Callable[[], Recipe],
    features: Callable[[], Features],
    find_lesson: Callable[[], Lesson],
    recipe: ProbeRecipe,
) -> TeacherBank:
    """Return a teacher whose features and outputs are both cached: other hyper-parameters don't read the corpus again.

    Args:
        name: of the teacher.
        key: what the features depend on, besides the samples.
        features: computes those of all splits.
        find_lesson: gives labels and folds.
        recipe: of the small net.
    """

    def compute(split: Split) -> Output:
        lesson = find_lesson()
        store = OutputCache(lesson.cache)
        described = {**key(), "samples": lesson.fingerprint}
        whole = {
            **described,
            "probe": recipe.key(),
            "classes": lesson.values.tolist(),
            "lesson": tensor_sha256(lesson.fold, lesson.target),
        }

        def teach() -> dict[Split, Output]:
            known = {part: store.get(f"{name}.features", described, part, features) for part in SPLITS}
            return taught(known, lesson, recipe)

        return store.get(name, whole, split, teach)

    return TeacherBank(name, compute)


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
