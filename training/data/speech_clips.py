"""Emotional speech of three corpora in one form: RAVDESS, EmoDB and the Urdu talk shows.

Classes are the union: RAVDESS' eight and EmoDB's boredom. A corpus is judged among its own classes alone, so that a
class which it lacks is not taught to be absent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from training.data.folder import DataMissingError, corpus_file
from training.data.sentences import read_rows

CLASSES: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "calm", "boredom")
"""contract.labels.EMOTIONS first, in their order."""
AMONG: Final[dict[str, tuple[str, ...]]] = {
    "ravdess": ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "calm"),
    "emodb": ("angry", "disgust", "fear", "happy", "sad", "neutral", "boredom"),
    "urdu": ("angry", "happy", "sad", "neutral"),
}
"""The classes of each corpus."""
_NAMES: Final = {"fearful": "fear", "surprised": "surprise"}
TEST_ACTORS: Final = ("18", "19", "20")
VALID_ACTORS: Final = ("16", "17")


@dataclass(frozen=True)
class SpeechClip:
    """One recording."""

    path: Path
    corpus: str
    emotion: str
    """One of CLASSES."""
    speaker: str
    """Unique over the corpora."""
    gender: str
    """male or female."""

    @property
    def part(self) -> str:
        """train, valid or test: RAVDESS by its actors; the other corpora are for training."""
        actor = self.speaker.rpartition("-")[2]
        if self.corpus != "ravdess":
            return "train"
        return "test" if actor in TEST_ACTORS else "valid" if actor in VALID_ACTORS else "train"


def load_speech(root: Path, corpora: Sequence[str] = ("ravdess", "emodb", "urdu")) -> list[SpeechClip]:
    """Return the clips of `corpora` in the order of their manifests.

    Raises:
        DataMissingError: a manifest or a column is missing, or an emotion is none of the corpus'.
    """
    return [clip for corpus in corpora for clip in _load(root, corpus)]


def speaker_folds(clips: Sequence[SpeechClip], folds: int, seed: int = 0) -> list[int]:
    """Return a fold for each clip; a speaker is in one fold, and corpora and genders are spread evenly."""
    speakers: dict[tuple[str, str], list[str]] = {}
    for clip in clips:
        group = speakers.setdefault((clip.corpus, clip.gender), [])
        if clip.speaker not in group:
            group.append(clip.speaker)
    fold_of: dict[str, int] = {}
    generator = np.random.default_rng(seed)
    place = 0
    for group in (sorted(speakers[key]) for key in sorted(speakers)):
        for number in generator.permutation(len(group)):
            fold_of[group[number]] = place % folds
            place += 1
    return [fold_of[clip.speaker] for clip in clips]


def _load(root: Path, corpus: str) -> list[SpeechClip]:
    path_column = "file" if corpus == "emodb" else "path"
    manifest = corpus_file(root, corpus, "manifest.csv")
    clips = []
    for number, row in enumerate(read_rows(manifest, (path_column, "emotion", "speaker", "gender"))):
        emotion = _NAMES.get(row["emotion"], row["emotion"])
        if emotion not in AMONG[corpus]:
            raise DataMissingError(f"{manifest}, row {number}: emotion {row['emotion']!r} is none of {corpus}")
        path = corpus_file(root, corpus, row[path_column])
        clips.append(SpeechClip(path, corpus, emotion, f"{corpus}-{row['speaker']}", row["gender"]))
    return clips
