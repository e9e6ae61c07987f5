"""The composed corpus as vectors: a voice, a face and a sentence of the same emotion, drawn together.

Conditionally independent given the emotion: good for measuring missing modalities, and without irony between them.
The vectors are teachers' (training/data/ravdess.py: Whisper; training/data/fer2013.py: the CNN, which has not seen
these faces; training/teachers/opinions.py over MELD's utterances). A window is a conversation of one utterance. Windows
share recordings of voices, which tests of significance keep together; they share faces and sentences as well.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.labels import EMOTIONS, MODALITIES, VALENCE
from training.data.composed import drawn
from training.data.conversations import Conversations, UtteranceSplit
from training.data.fer2013 import Fer2013
from training.data.folder import Split
from training.data.meld import Meld
from training.data.ravdess import Ravdess
from training.data.task import RECORDING
from training.teachers.cache import SPLITS, recipe_hash
from training.teachers.net_recipes import StreamsRecipe

WINDOWS: Final[dict[Split, int]] = {"train": 3000, "valid": 1000, "test": 2000}
_SEEDS: Final[dict[Split, int]] = {"train": 1, "valid": 2, "test": 3}
_AUDIO, _VIDEO = "whisper", "cnn"

Source = Callable[[Split], tuple[Tensor, NDArray[np.int64]]]
"""Of a split: vectors [N, D] and emotions [N]."""


class ComposedVectors(Conversations):
    """Seven emotions; see the module."""

    name: str = "composed"
    labels: tuple[str, ...] = EMOTIONS
    values: tuple[float, ...] = tuple(VALENCE[label] for label in EMOTIONS)
    small_names: tuple[str, ...] = ("default", "bottleneck")
    teaching: StreamsRecipe = StreamsRecipe(epochs=8, batch=64, smoothing=0.05)

    @cached_property
    def voices(self) -> Ravdess:
        """Where voices come from."""
        return Ravdess(self.data, self.cache)

    @cached_property
    def faces(self) -> Fer2013:
        """Where faces come from."""
        return Fer2013(self.data, self.cache)

    @cached_property
    def dialogues(self) -> Meld:
        """Where sentences come from."""
        return Meld(self.data, self.cache)

    def load(self) -> Mapping[Split, UtteranceSplit]:
        """See Conversations."""
        sources = dict(zip(MODALITIES, (self._voices, self._faces, self._sentences), strict=True))
        return {
            split: _windows(
                {name: source(split) for name, source in sources.items()}, self.dialogues.media("text", split), split
            )
            for split in SPLITS
        }

    def fingerprint(self) -> str:
        """Return the hash of the three corpora and of the draw."""
        parts = [self.voices.fingerprint(), self.faces.fingerprint(), self.dialogues.fingerprint()]
        return recipe_hash({"parts": parts, "teachers": [_AUDIO, _VIDEO], "windows": WINDOWS, "seeds": _SEEDS})

    def _voices(self, split: Split) -> tuple[Tensor, NDArray[np.int64]]:
        return _described(self.voices, _AUDIO, split)

    def _faces(self, split: Split) -> tuple[Tensor, NDArray[np.int64]]:
        return _described(self.faces, _VIDEO, split)

    def _sentences(self, split: Split) -> tuple[Tensor, NDArray[np.int64]]:
        emotions = [EMOTIONS.index(str(turn.sentence.emotion)) for turn in self.dialogues.turns[split]]
        return self.dialogues.samples(split).inputs["text"], np.array(emotions)


def _described(task: Ravdess | Fer2013, teacher: str, split: Split) -> tuple[Tensor, NDArray[np.int64]]:
    target = task.samples(split).target
    assert target is not None
    return task.teacher(teacher).outputs(split).features["penultimate"].float(), target.numpy()


def _windows(
    sources: Mapping[str, tuple[Tensor, NDArray[np.int64]]], sentences: Sequence[str], split: Split
) -> UtteranceSplit:
    """Draw the windows of a split: emotions evenly, then one item of the emotion from every modality."""
    rng = np.random.default_rng(_SEEDS[split])
    emotions = np.arange(WINDOWS[split]) % len(EMOTIONS)
    ids = [f"{split}-{i}" for i in range(len(emotions))]
    chosen = {name: torch.from_numpy(drawn(labels, emotions, rng)) for name, (_, labels) in sources.items()}
    return UtteranceSplit(
        ids=ids,
        conversation=ids,
        features={name: x[chosen[name]] for name, (x, _) in sources.items()},
        target=torch.from_numpy(emotions),
        score=torch.tensor([VALENCE[EMOTIONS[emotion]] for emotion in emotions.tolist()]),
        texts=[sentences[place] for place in chosen["text"].tolist()],
        groups={RECORDING: chosen["audio"]},
    )
