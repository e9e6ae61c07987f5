"""A teacher that hears a clip and sees who speaks: one hypergraph network over frozen features of both, out of fold.

A clip is a conversation of one utterance, so the network's hyperedges are that of the clip, over its modalities, and
one of each modality that holds a single node. Of bc-LSTM, the gated fusion and this, it answered best on clips of
actors that it had not seen. Knows neither the corpus nor where features come from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from contract.labels import MODALITIES
from training.data.conversations import Scale
from training.data.task import Inputs, Samples, Split, TeacherBank
from training.distillation.outputs import Output
from training.teachers.cache import SPLITS, OutputCache, tensor_sha256
from training.teachers.net_recipes import StreamsRecipe
from training.teachers.probed import Features, FeatureSource, Lesson
from training.teachers.trained import out_of_fold_nets

VECTOR: Final = "vector"
"""The feature of a source that the network reads."""


@dataclass(frozen=True)
class AudioVisualRecipe(StreamsRecipe):
    """How the network is made and trained."""

    width: int = 128
    """Of its states."""


RECIPE: Final = AudioVisualRecipe(epochs=4, weight_decay=0.1)


def audio_visual_bank(
    name: str,
    sources: Mapping[str, FeatureSource],
    find_samples: Callable[[Split], Samples],
    find_lesson: Callable[[], Lesson],
    recipe: AudioVisualRecipe = RECIPE,
) -> TeacherBank:
    """Return a teacher over several sources, whose features and outputs are cached.

    Args:
        name: of the teacher.
        sources: by modality.
        find_samples: gives the task's samples, for their labels; those of `valid` choose the epoch.
        find_lesson: gives folds, and the sentiment of the classes.
        recipe: of the network.
    """

    def compute(split: Split) -> Output:
        lesson = find_lesson()
        key = {
            "net": "hypergraph",
            "sources": {modality: source.recipe(lesson) for modality, source in sources.items()},
            "recipe": recipe.key(),
            "classes": lesson.values.tolist(),
            "lesson": tensor_sha256(lesson.fold, lesson.target),
        }

        def teach() -> dict[Split, Output]:
            features = {modality: source.features(lesson) for modality, source in sources.items()}
            return taught(clips(features, {part: find_samples(part) for part in SPLITS}), lesson, recipe)

        return OutputCache(lesson.cache).get(name, key, split, teach)

    return TeacherBank(name, compute)


def clips(features: Mapping[str, Features], samples: Mapping[Split, Samples]) -> dict[Split, Samples]:
    """Return what the network reads: by modality [N, F], standardised by the statistics of `train`.

    `present` [N, 3] is 1 for the modalities that have features, and `conversation` [N] another for every sample.
    """
    scales = {modality: Scale.of(_vectors(known, "train")) for modality, known in features.items()}
    column = torch.tensor([float(modality in features) for modality in MODALITIES])
    read: dict[Split, Samples] = {}
    for split, part in samples.items():
        present = column.repeat(len(part), 1)
        inputs = {modality: scales[modality](_vectors(known, split)) for modality, known in features.items()}
        inputs |= {"present": present, "conversation": torch.arange(len(part))}
        read[split] = replace(part, inputs=inputs, present=present)
    return read


def taught(samples: Mapping[Split, Samples], lesson: Lesson, recipe: AudioVisualRecipe) -> dict[Split, Output]:
    """Train the networks on samples as `clips` gives them, and return what they say, out of fold on `train`.

    Features are those of training/models/teachers/layers.py: `Answer`: every modality's state and what it alone
    answers, and `penultimate`.
    """
    inputs = samples["train"].inputs
    widths: dict[str, int] = {modality: inputs[modality].shape[1] for modality in MODALITIES if modality in inputs}
    values = lesson.values.tolist()

    def make() -> nn.Module:
        # Takes seconds to import, which reading the cache needs not.
        from training.models.teachers.hypergraph_net import HypergraphNet

        return HypergraphNet(widths, values, recipe.width)

    return out_of_fold_nets(make, samples, lesson.fold, _unchanged, recipe)


def _vectors(features: Features, split: Split) -> Tensor:
    return features[split].features[VECTOR].float()


def _unchanged(inputs: Inputs, generator: torch.Generator) -> Inputs:
    """Dropout inside the network is noise enough."""
    del generator
    return inputs
