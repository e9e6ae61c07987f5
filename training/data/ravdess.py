"""RAVDESS speech (Livingstone & Russo 2018): acted emotions, split by actor. Calm joins neutral."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from contract.timing import SAMPLE_RATE
from training.data.folder import DataMissingError, Split, corpus_file
from training.data.sentences import read_rows

_EMOTIONS: Final = {
    "angry": "angry",
    "disgust": "disgust",
    "fearful": "fear",
    "happy": "happy",
    "sad": "sad",
    "surprised": "surprise",
    "neutral": "neutral",
    "calm": "neutral",
}


@dataclass(frozen=True)
class Clip:
    """One recording."""

    path: Path
    emotion: str
    actor: str


def load(root: Path, split: Split) -> list[Clip]:
    """Return the clips of one split: actors 1-15 train, 16-17 valid, 18-20 test."""
    manifest = corpus_file(root, "ravdess", "manifest.csv")
    return [
        Clip(corpus_file(root, "ravdess", row["path"]), _EMOTIONS[row["emotion"]], row["speaker"])
        for row in read_rows(manifest, ("path", "split", "emotion", "speaker"))
        if row["split"] == split
    ]


def read_pcm(path: Path) -> NDArray[np.float32]:
    """Return the samples in [-1, 1]; raises DataMissingError when the file is not 16 kHz mono."""
    samples, rate = soundfile.read(str(path), dtype="float32")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise DataMissingError(f"{path}: expected {SAMPLE_RATE} Hz mono, got {rate} Hz with shape {samples.shape}")
    return np.asarray(samples, dtype=np.float32)
