"""RAVDESS speech (Livingstone & Russo 2018): acted emotions, split by actor.

Calm joins neutral. The task is to hear one of seven emotions in a clip of an unseen actor. Training clips are held at
three speeds, each a sample of its own with its own teachers' outputs, so that what a teacher says about a changed voice
was computed on that voice. Clips are cut to the voice and to 2.8 s.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.labels import EMOTIONS, VALENCE
from contract.timing import AUDIO_SLOT_SAMPLES, SAMPLE_RATE
from training.data import augment
from training.data.folder import DataMissingError, Split, corpus_file
from training.data.sentences import read_rows
from training.data.task import Inputs, Samples, TeacherBank
from training.distillation.outputs import Output
from training.models.served.logmel import MELS, STEP_SAMPLES, LogMel
from training.models.students.audio import ConvStudent, GruStudent
from training.names import check_name
from training.teachers.audio_sources import Pcm
from training.teachers.audio_visual import audio_visual_bank
from training.teachers.cache import SPLITS, OutputCache, file_sha256, recipe_hash
from training.teachers.media import MediaTask
from training.teachers.probe import ProbeRecipe, folds_of
from training.teachers.probed import Features, FeatureSource, probed_bank

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


SLOTS: Final = 28
"""Slots of 100 ms in a clip."""
SAMPLES: Final = SLOTS * AUDIO_SLOT_SAMPLES
SPEEDS: Final = (1.0, 0.9, 1.1)
"""Of the training clips. Speed moves pitch and formants along: other speakers."""
VOICE_DB: Final = 35.0
"""How far below its loudest 10 ms a clip's voice begins and ends."""
MARGIN_S: Final = 0.1
"""Kept before and after the voice."""
_VERSION: Final = 1
"""Of the preparation; a new one makes everything cached anew."""


class Ravdess(MediaTask):
    """The task; see the module."""

    name: str = "ravdess"
    labels: tuple[str, ...] = EMOTIONS
    metric: str = "accuracy"
    media_names = ("audio",)
    own_teachers = ("action_units", "audio_visual")
    slots = SLOTS
    student_names: tuple[str, ...] = ("default", "gru")

    def __init__(self, data: Path, cache: Path = Path("cache")) -> None:
        """Take the data folder, and the folder for weights, prepared samples and teachers' outputs."""
        self.data, self.cache = data, cache
        self.values = tuple(VALENCE[label] for label in EMOTIONS)
        self._samples: dict[Split, Samples] = {}

    @cached_property
    def clips(self) -> dict[Split, list[Clip]]:
        """The clips of every split, by the official actors."""
        return {split: load(self.data, split) for split in SPLITS}

    def fingerprint(self) -> str:
        """Return the hash of manifest, recordings and preparation."""
        recordings = "".join(file_sha256(clip.path) for split in SPLITS for clip in self.clips[split])
        return recipe_hash(
            {
                "manifest": file_sha256(corpus_file(self.data, "ravdess", "manifest.csv")),
                "recordings": hashlib.sha256(recordings.encode()).hexdigest(),
                "preparation": [_VERSION, SLOTS, SPEEDS, VOICE_DB, MARGIN_S, MELS],
            }
        )

    def samples(self, split: Split) -> Samples:
        """Return `logmel` float16 [N, 280, 48] and `logmel_mask` uint8 [N, 280]."""
        if split not in self._samples:
            store = OutputCache(self.cache / "prepared")
            prepared = store.get(self.name, {"samples": self.fingerprint()}, split, self._prepare)
            self._samples[split] = self._labelled(split, prepared)
        return self._samples[split]

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Add noise, change the gain, hide bands and stretches."""
        mask = inputs["logmel_mask"]
        logmel = augment.noisy(inputs["logmel"].float(), mask, generator)
        logmel = augment.spec_augment(augment.louder(logmel, generator), generator)
        return inputs | {"logmel": logmel}

    def student(self, name: str = "default") -> nn.Module:
        """Return a causal convolutional net, or a recurrent one."""
        check_name("student", name, self.student_names)
        return ConvStudent(MELS, self.values) if name == "default" else GruStudent(MELS, self.values)

    def own_teacher(self, name: str) -> TeacherBank | None:
        """Return one that sees the face, or one that also hears."""
        units = FeatureSource("action_units", self._units_key, self._units)
        if name == "action_units":
            return probed_bank(units, lambda: self.lesson, ProbeRecipe(hidden=64))
        if name == "audio_visual":
            sources = {"audio": self.source("whisper")[0], "video": units}
            return audio_visual_bank(name, sources, self.samples, lambda: self.lesson)
        return None

    @property
    def fold(self) -> Tensor:
        """All clips of one actor share a fold."""
        return folds_of(self.samples("train").groups["speaker"])

    def media(self, modality: str, split: Split) -> list[Pcm]:
        """See MediaTask."""
        return self.recordings(split)

    def recordings(self, split: Split) -> list[Pcm]:
        """Return the samples' PCM, cut to the voice, in the order of `samples`."""
        return [
            cut_to_voice(changed)
            for clip in self.clips[split]
            for changed in at_speeds(read_pcm(clip.path), _speeds(split))
        ]

    def _prepare(self) -> Mapping[Split, Output]:
        """Log-mel of every sample, kept in the form of an output so that the same cache takes it."""
        prepared: dict[Split, Output] = {}
        for split in SPLITS:
            logmel, mask = logmel_of(self.recordings(split))
            prepared[split] = Output(features={"logmel": logmel}, masks={"logmel": mask})
        return prepared

    def _labelled(self, split: Split, prepared: Output) -> Samples:
        speeds = _speeds(split)
        clips = [(clip, speed) for clip in self.clips[split] for speed in speeds]
        target = torch.tensor([EMOTIONS.index(clip.emotion) for clip, _ in clips])
        speaker = torch.tensor([int(clip.actor) for clip, _ in clips])
        present = torch.zeros(len(clips), 3)
        present[:, 0] = 1.0
        return Samples(
            inputs={"logmel": prepared.features["logmel"], "logmel_mask": prepared.masks["logmel"]},
            target=target,
            score=torch.tensor(self.values)[target],
            # RAVDESS numbers its actresses evenly.
            groups={"speaker": speaker, "gender": 1 - speaker % 2},
            ids=[clip.path.stem + (f"@{speed}" if speed != 1.0 else "") for clip, speed in clips],
            present=present,
        )

    def _units_key(self) -> dict[str, object]:
        return {"source": "action_units", "file": file_sha256(corpus_file(self.data, "ravdess", "action_units.npz"))}

    def _units(self) -> Features:
        """Facial action units of the same recording; one vector a clip, whatever its speed."""
        units = action_units(corpus_file(self.data, "ravdess", "action_units.npz"))
        features: dict[Split, Output] = {}
        for split in SPLITS:
            missing = [clip.path.stem for clip in self.clips[split] if clip.path.stem[3:] not in units]
            if missing:
                raise DataMissingError(f"action_units.npz has no clip {missing[0]} ({len(missing)} clips are missing)")
            rows = torch.stack([units[clip.path.stem[3:]] for clip in self.clips[split]])
            features[split] = Output(features={"vector": rows.repeat_interleave(len(_speeds(split)), dim=0)})
        return features


def action_units(path: Path) -> dict[str, Tensor]:
    """Return clip -> [35], by the clip's name without its first two digits (01: film, 03: sound alone)."""
    with np.load(path) as archive:
        return {str(clip)[3:]: torch.from_numpy(row) for clip, row in zip(archive["clip"], archive["au"], strict=True)}


def at_speeds(pcm: Pcm, speeds: tuple[float, ...]) -> list[Pcm]:
    """Return the recording [N] at several speeds, [N / speed] each."""
    samples = torch.from_numpy(pcm)
    return [
        pcm if speed == 1.0 else torchaudio.functional.speed(samples, SAMPLE_RATE, speed)[0].numpy() for speed in speeds
    ]


def logmel_of(recordings: Sequence[Pcm]) -> tuple[Tensor, Tensor]:
    """Return log-mel float16 [N, 280, 48] of recordings of at most 2.8 s, and its mask uint8 [N, 280]."""
    net = LogMel()
    padded = torch.stack([torch.from_numpy(np.pad(pcm, (0, SAMPLES - len(pcm)))) for pcm in recordings])
    logmel = torch.cat([net(part).transpose(1, 2).half() for part in torch.split(padded, 64)])
    frames = torch.tensor([len(pcm) // STEP_SAMPLES for pcm in recordings])
    return logmel, (torch.arange(logmel.shape[1]) < frames.unsqueeze(1)).to(torch.uint8)


def cut_to_voice(pcm: Pcm) -> Pcm:
    """Return the part [M] with voice and a margin: whole frames of 10 ms, at least one slot and at most 2.8 s."""
    frames = len(pcm) // STEP_SAMPLES
    power = np.square(pcm[: frames * STEP_SAMPLES].reshape(frames, STEP_SAMPLES)).mean(axis=1)
    voiced: NDArray[np.int64] = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (-VOICE_DB / 10))
    margin = round(MARGIN_S * SAMPLE_RATE / STEP_SAMPLES)
    first, last = (int(voiced[0]), int(voiced[-1])) if len(voiced) else (0, 0)
    begin = max(0, first - margin) * STEP_SAMPLES
    end = min(frames, last + 1 + margin) * STEP_SAMPLES
    part = pcm[begin : min(end, begin + SAMPLES)]
    return np.pad(part, (0, max(0, AUDIO_SLOT_SAMPLES - len(part))))


def _speeds(split: Split) -> tuple[float, ...]:
    return SPEEDS if split == "train" else (1.0,)
