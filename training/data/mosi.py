"""CMU-MOSI (Zadeh et al. 2016): segments of monologues on films, with a sentiment from -3 to 3.

The utterance features are those that were published with bc-LSTM (Poria et al. 2017), with its split by videos. The
text and the video features were learned on the labels of its training part, so what is measured inside that part with
them says nothing. `load` gives segments in the order in which they were spoken.

The task `mosi` has inputs that have seen no label of the corpus: transcripts through a text encoder, and the published
audio features. `mosi_published` has the published features of all three modalities: validation can't choose well there,
and they serve to be compared with the published figure alone.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from contract.labels import MODALITIES
from training.data.conversations import Conversations, UtteranceSplit
from training.data.folder import DataMissingError, Split, corpus_file
from training.data.sentences import read_rows
from training.models.answer import ScoredHead
from training.teachers.cache import file_sha256, recipe_hash
from training.teachers.opinions import OpinionEncoder

CORPUS: Final = "mosi_bclstm"
MANIFEST: Final = "manifest.csv"
FEATURES: Final = "mosi_utterance_features.npz"
VALID_VIDEOS: Final = 10
"""Of the 62 training videos."""
_COLUMNS: Final = ("row", "segment_id", "video_id", "segment", "bclstm_split", "label_binary", "sentiment", "text")

_CONTRACTED: Final = (
    "ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't shouldn't wasn't weren't won't "
    "wouldn't could've should've would've i'm i've you're you've you'll he's she's it's it'll we've they're they've "
    "they'll that's there's here's what's who's let's"
)
_CONTRACTIONS: Final = {word.replace("'", ""): word for word in _CONTRACTED.split()}
"""Those that can be told from another word without their apostrophe, or nearly always mean this (`its`, `lets`)."""


@dataclass(frozen=True)
class Segment:
    """One utterance."""

    row: int
    """In the manifest and in the features, from 0."""
    id: str
    video: str
    number: int
    """Its place in the video, from 1."""
    text: str
    """In capitals, without punctuation and apostrophes."""
    positive: bool
    """Whether the sentiment is 0 or more."""
    sentiment: float
    """In [-3, 3], the mean of five ratings."""


@dataclass(frozen=True)
class Part:
    """One split."""

    segments: list[Segment]
    """Video after video in the order of their names, each in time order."""
    features: dict[str, NDArray[np.float32]]
    """The published ones, by modality: [N, D] in the order of `segments`."""


def load(root: Path) -> dict[Split, Part]:
    """Return the three splits: test as in bc-LSTM, valid from its training videos (see `validation_videos`).

    Raises:
        DataMissingError: a file or column is missing, or a row is not as it should be; says which.
    """
    manifest = corpus_file(root, CORPUS, MANIFEST)
    segments: list[Segment] = []
    test: dict[str, bool] = {}
    for position, row in enumerate(read_rows(manifest, _COLUMNS)):
        try:
            segments.append(_segment(row, position))
            _same_split(row, test)
        except ValueError as error:
            raise DataMissingError(f"{manifest}, row {position} ({row['segment_id']}): {error}") from None
    archive = _features(corpus_file(root, CORPUS, FEATURES), segments)
    sizes = {video: sum(s.video == video for s in segments) for video, held in test.items() if not held}
    valid = validation_videos(sizes)
    videos: dict[Split, set[str]] = {
        "train": set(sizes) - valid,
        "valid": valid,
        "test": {video for video, held in test.items() if held},
    }
    return {split: _part(segments, archive, names, manifest) for split, names in videos.items()}


def validation_videos(sizes: dict[str, int], count: int = VALID_VIDEOS) -> set[str]:
    """Return `count` of the videos, long and short ones alike.

    The videos are sorted by size (number of segments) and cut into `count` groups of neighbours; each gives the one
    whose name has the least SHA-256. So the choice depends on nothing but names and sizes.
    """
    ordered = sorted(sizes, key=lambda video: (sizes[video], video))
    groups = [ordered[len(ordered) * i // count : len(ordered) * (i + 1) // count] for i in range(count)]
    return {min(group, key=lambda video: hashlib.sha256(video.encode()).hexdigest()) for group in groups if group}


def readable(text: str) -> str:
    """Return a transcript as people write: in small letters, with the apostrophes that it has lost (`DIDNT`)."""
    return " ".join(_CONTRACTIONS.get(word, word) for word in text.lower().split())


def _segment(row: dict[str, str], position: int) -> Segment:
    """Read one row; raises ValueError that says what is wrong with it."""
    if row["row"] != str(position):
        raise ValueError(f"row is {row['row']!r}, expected {position}: the rows are those of {FEATURES}")
    if row["label_binary"] not in ("0", "1"):
        raise ValueError(f"label_binary is {row['label_binary']!r}, expected 0 or 1")
    sentiment = _number("sentiment", row["sentiment"])
    if not -3 <= sentiment <= 3:
        raise ValueError(f"sentiment {row['sentiment']} is not in [-3, 3]")
    positive = row["label_binary"] == "1"
    if positive != (sentiment >= 0):
        raise ValueError(f"label_binary {row['label_binary']} contradicts sentiment {row['sentiment']} (1: 0 or more)")
    number = _number("segment", row["segment"])
    if not number.is_integer() or number < 1:
        raise ValueError(f"segment is {row['segment']!r}, expected the place in the video, 1 or more")
    if not row["text"].strip():
        raise ValueError("no text")
    return Segment(position, row["segment_id"], row["video_id"], int(number), row["text"], positive, sentiment)


def _number(column: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} is {value!r}, expected a number")
    return number


def _same_split(row: dict[str, str], test: dict[str, bool]) -> None:
    """Note whether the row's video is for the test; raises ValueError when that changes within a video."""
    split, video = row["bclstm_split"], row["video_id"]
    if split not in ("train", "test"):
        raise ValueError(f"bclstm_split is {split!r}, expected train or test")
    if test.setdefault(video, split == "test") != (split == "test"):
        raise ValueError(f"video {video} is in both parts of bclstm_split")


def _features(path: Path, segments: Sequence[Segment]) -> dict[str, NDArray[Any]]:
    """Read the archive and check that its rows are the manifest's."""
    with np.load(path) as stored:
        missing = {*MODALITIES, "segment_id"} - set(stored.files)
        if missing:
            raise DataMissingError(f"{path} has no array {', '.join(sorted(missing))}")
        archive = {name: stored[name] for name in (*MODALITIES, "segment_id")}
    for name, rows in archive.items():
        if len(rows) != len(segments):
            raise DataMissingError(f"{path}: {name} has {len(rows)} rows, {MANIFEST} has {len(segments)}")
    for segment in segments:
        if archive["segment_id"][segment.row] != segment.id:
            other = archive["segment_id"][segment.row]
            raise DataMissingError(f"{path}, row {segment.row}: segment_id is {other}, {MANIFEST} has {segment.id}")
        for name in MODALITIES:
            if not np.isfinite(archive[name][segment.row]).all():
                raise DataMissingError(f"{path}, row {segment.row} ({segment.id}): {name} holds a value not finite")
    return archive


def _part(segments: Iterable[Segment], archive: dict[str, NDArray[Any]], videos: set[str], manifest: Path) -> Part:
    chosen = sorted((s for s in segments if s.video in videos), key=lambda s: (s.video, s.number))
    for one, other in pairwise(chosen):
        if (one.video, one.number) == (other.video, other.number):
            raise DataMissingError(f"{manifest}, row {other.row} ({other.id}): row {one.row} is that segment already")
    rows = [segment.row for segment in chosen]
    return Part(chosen, {name: archive[name][rows].astype(np.float32) for name in MODALITIES})


class MosiPublished(Conversations):
    """The published features; see the module."""

    name: str = "mosi_published"
    labels: tuple[str, ...] = ("negative", "positive")
    values: tuple[float, ...] = (-1.0, 1.0)
    head = ScoredHead

    @cached_property
    def parts(self) -> dict[Split, Part]:
        """The splits as they are read."""
        return load(self.data)

    def load(self) -> Mapping[Split, UtteranceSplit]:
        """See Conversations."""
        return {
            split: _utterances(part, {name: torch.from_numpy(x) for name, x in part.features.items()})
            for split, part in self.parts.items()
        }

    def fingerprint(self) -> str:
        """Return the hash of manifest and features, and of who validates."""
        return recipe_hash(self._files())

    def _files(self) -> dict[str, object]:
        files = {name: file_sha256(corpus_file(self.data, CORPUS, name)) for name in (MANIFEST, FEATURES)}
        return {**files, "validation": sorted({segment.video for segment in self.parts["valid"].segments})}


class Mosi(MosiPublished):
    """Transcripts and published audio features; see the module."""

    name: str = "mosi"

    @cached_property
    def encoder(self) -> OpinionEncoder:
        """Of the transcripts."""
        return OpinionEncoder(self.data, self.cache)

    def load(self) -> Mapping[Split, UtteranceSplit]:
        """See Conversations."""
        texts = {split: [readable(segment.text) for segment in part.segments] for split, part in self.parts.items()}
        text = self.encoded(self.encoder, texts)
        return {
            split: _utterances(part, {"audio": torch.from_numpy(part.features["audio"]), "text": text[split]})
            for split, part in self.parts.items()
        }

    def fingerprint(self) -> str:
        """Return the hash of transcripts, encoder and audio features."""
        return recipe_hash({**self._files(), "text": self.encoder.key()})


def _utterances(part: Part, features: dict[str, torch.Tensor]) -> UtteranceSplit:
    return UtteranceSplit(
        ids=[segment.id for segment in part.segments],
        conversation=[segment.video for segment in part.segments],
        features=features,
        target=torch.tensor([int(segment.positive) for segment in part.segments]),
        score=torch.tensor([segment.sentiment / 3 for segment in part.segments]),
        texts=[readable(segment.text) for segment in part.segments],
    )
