"""Anyone's own clips (see training/data/clips.py for the form of the folder) as a task.

The data folder is the one that holds `clips.csv`. Labels may be any words; where rows have a score alone, the classes
are the three polarities. Clips lack what they lack: `present` says so, and masks are zero.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from contract.labels import EMOTIONS, MODALITIES, POLARITIES, VALENCE, polarity_of
from training.data import augment
from training.data.clips import TABLE, Row, read_media, read_table
from training.data.folder import DataMissingError
from training.data.ravdess import SAMPLES, SLOTS, cut_to_voice, logmel_of
from training.data.sst import TOKENIZER, framed
from training.data.task import Inputs, Samples, Split
from training.data.tokenizer import load_tokenizer
from training.distillation.outputs import Output
from training.models.served.logmel import MELS
from training.models.students.audio import ConvStudent
from training.models.students.face import ResidualStudent
from training.models.students.text import LstmStudent
from training.models.students.trimodal import TrimodalStudent
from training.names import check_name
from training.teachers.audio_sources import Pcm
from training.teachers.cache import SPLITS, OutputCache, file_sha256, recipe_hash
from training.teachers.media import MediaTask
from training.teachers.probe import folds_of

_VALUES: Final = VALENCE | {"negative": -0.7, "neutral": 0.0, "positive": 0.7}
_FOLDS: Final = 5
_VERSION: Final = 1


class Folder(MediaTask):
    """The task; see the module."""

    name: str = "folder"
    metric: str = "accuracy"
    media_names = MODALITIES
    slots = SLOTS
    student_names: tuple[str, ...] = ("default", "audio", "video", "text")

    def __init__(self, data: Path, cache: Path = Path("cache"), tokenizer: Path = TOKENIZER) -> None:
        """Take the folder with `clips.csv`, the folder for weights and teachers' outputs, the students' tokenizer."""
        self.data, self.cache, self.tokenizer_file = data, cache, tokenizer
        rows = read_table(data)
        self.rows: dict[Split, list[Row]] = {split: [row for row in rows if row.split == split] for split in SPLITS}
        for split, part in self.rows.items():
            if not part:
                raise DataMissingError(f"{data / TABLE} has no row of split {split}")
        self.labels: tuple[str, ...] = _ordered({_label(row) for row in rows})
        self.values = tuple(self._value(label) for label in self.labels)
        self._samples: dict[Split, Samples] = {}

    def fingerprint(self) -> str:
        """Return the hash of table, media, tokenizer and preparation."""
        files = [file_sha256(row.file) for split in SPLITS for row in self.rows[split] if row.file is not None]
        table = [file_sha256(self.data / TABLE), file_sha256(self.tokenizer_file)]
        return recipe_hash({"task": self.name, "files": files, "table": table, "version": _VERSION})

    def samples(self, split: Split) -> Samples:
        """Return the inputs of all three kinds of students, and `present` [N, 3]."""
        if split not in self._samples:
            store = OutputCache(self.cache / "prepared")
            prepared = store.get(self.name, {"samples": self.fingerprint()}, split, self._prepare)
            self._samples[split] = self._labelled(split, prepared)
        return self._samples[split]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The students' word pieces."""
        return load_tokenizer(self.tokenizer_file)

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """What the tasks of one modality do."""
        logmel = augment.noisy(inputs["logmel"].float(), inputs["logmel_mask"], generator)
        face = augment.shifted(augment.flipped(inputs["face"].float(), generator), generator)
        return inputs | {
            "logmel": augment.spec_augment(augment.louder(logmel, generator), generator),
            "face": augment.erased(augment.relit(face, generator), generator),
            "ids": augment.dropped_words(inputs["ids"], inputs["ids_mask"], generator),
        }

    def student(self, name: str = "default") -> nn.Module:
        """Return a student of all modalities, or of one."""
        check_name("student", name, self.student_names)
        students: dict[str, Callable[[], nn.Module]] = {
            "default": lambda: TrimodalStudent(MELS, self.values),
            "audio": lambda: ConvStudent(MELS, self.values),
            "video": lambda: ResidualStudent(self.values),
            "text": lambda: LstmStudent(self.values),
        }
        return students[name]()

    @property
    def fold(self) -> Tensor:
        """By speaker; at random where fewer than two are known."""
        speaker = self.samples("train").groups["speaker"]
        if len(torch.unique(speaker)) < 2:
            return torch.randperm(len(speaker), generator=torch.Generator().manual_seed(0)) % _FOLDS
        return folds_of(speaker, _FOLDS)

    def media(self, modality: str, split: Split) -> Sequence[Any]:
        """See MediaTask; silence where there is no sound, and black where there is no face."""
        if modality == "text":
            return [row.text for row in self.rows[split]]
        if modality == "video":
            return list(self.samples(split).inputs["face"].numpy())
        return self.recordings(split)

    def recordings(self, split: Split) -> list[Pcm]:
        """Return the clips' sound, cut to the voice, in the order of `samples`; silence where there is none."""
        silence = np.zeros(SAMPLES, dtype=np.float32)
        pcm = [read_media(row, ("sound",)).pcm for row in self.rows[split]]
        return [cut_to_voice(silence if p is None else p) for p in pcm]

    def _value(self, label: str) -> float:
        """The sentiment of a class: the contract's, else the mean score of its training rows, else 0."""
        if label in _VALUES:
            return _VALUES[label]
        scores = [row.score for row in self.rows["train"] if row.label == label and row.score is not None]
        return sum(scores) / len(scores) if scores else 0.0

    def _prepare(self) -> dict[Split, Output]:
        """Decode every file once; inputs are kept in the form of an output so that the same cache takes them."""
        return {split: _decoded(self.rows[split]) for split in SPLITS}

    def _labelled(self, split: Split, prepared: Output) -> Samples:
        rows = self.rows[split]
        target = torch.tensor([self.labels.index(_label(row)) for row in rows])
        values = torch.tensor(self.values)[target].tolist()
        speakers = sorted({row.speaker for part in self.rows.values() for row in part})
        pieces = self.tokenizer.encode_batch([row.text for row in rows], add_special_tokens=False)
        ids, ids_mask = framed([piece.ids for piece in pieces])
        assert prepared.present is not None
        return Samples(
            inputs={
                "logmel": prepared.features["logmel"],
                "logmel_mask": prepared.masks["logmel"],
                "face": prepared.features["face"].to(torch.uint8),
                "ids": ids,
                "ids_mask": ids_mask,
                "present": prepared.present,
            },
            target=target,
            score=torch.tensor([v if row.score is None else row.score for row, v in zip(rows, values, strict=True)]),
            groups={"speaker": torch.tensor([speakers.index(row.speaker) for row in rows])},
            ids=[f"{row.number}:{row.file.name if row.file else 'text'}" for row in rows],
            present=prepared.present,
        )


def _label(row: Row) -> str:
    if row.label is not None:
        return row.label
    assert row.score is not None, "read_table checks it"
    return polarity_of(row.score)


def _ordered(labels: set[str]) -> tuple[str, ...]:
    """All of the contract's words where only they are used, else the labels sorted."""
    for known in (EMOTIONS, POLARITIES):
        if labels <= set(known):
            return known
    return tuple(sorted(labels))


def _decoded(rows: list[Row]) -> Output:
    media = [read_media(row) for row in rows]
    silent = np.zeros(0, dtype=np.float32)
    logmel, mask = logmel_of([silent if m.pcm is None else cut_to_voice(m.pcm) for m in media])
    blank = np.zeros((48, 48), dtype=np.uint8)
    faces = np.stack([blank if m.face is None else _grey_48(m.face) for m in media])
    present = [[m.pcm is not None, m.face is not None, bool(row.text)] for m, row in zip(media, rows, strict=True)]
    features = {"logmel": logmel, "face": torch.from_numpy(faces)}
    return Output(features=features, masks={"logmel": mask}, present=torch.tensor(present).float())


def _grey_48(face: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA), dtype=np.uint8)
