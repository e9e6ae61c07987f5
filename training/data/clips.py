"""Anyone's own clips: a folder with media files and a `clips.csv`, one row a clip.

| column | |
|---|---|
| `file` | film, sound or picture, relative to the folder, whatever FFmpeg opens; may be empty where there is a text |
| `split` | `train`, `valid` or `test` |
| `label` | class, any words; may be left out where there is a score |
| `score` | sentiment in [-1, 1]; may be left out where there is a label |
| `text` | what is said; optional |
| `speaker` | any name; optional. A speaker belongs to one split |
| `start_s`, `end_s` | the part of the file that is meant, in seconds; optional |

A clip has what its row and its file have: sound, a face, a text, in any combination.
"""

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from contract.faces import crop_square
from contract.timing import SAMPLE_RATE
from training.data.folder import DataMissingError, Split

TABLE: Final = "clips.csv"
SPLITS: Final = ("train", "valid", "test")
_SHARES: Final = (0.5, 0.3, 0.7, 0.1, 0.9)
"""Where in a film a face is looked for: the first that is found is taken."""
_SHORTEST_FILM_S: Final = 0.1
_DETECTION_WIDTH: Final = 320
_FACE_SIDE: Final = 0.9
"""Side of the face relative to the detector's box, as the server takes it."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    number: int
    """As a spreadsheet counts: the header is 1."""
    file: Path | None
    split: Split
    label: str | None
    score: float | None
    text: str
    speaker: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Media:
    """What a file holds; None where it has none of it."""

    pcm: NDArray[np.float32] | None
    """[N] at 16 kHz."""
    face: NDArray[np.uint8] | None
    """[64, 64, 3], RGB."""


def read_table(folder: Path) -> list[Row]:
    """Return the rows of `folder/clips.csv`.

    Raises:
        DataMissingError: no table, or a row that is broken; says which and why.
    """
    path = folder / TABLE
    if not path.is_file():
        raise DataMissingError(f"{path} does not exist: one row a clip, with columns file, split, label or score")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        if not {"file", "split"} <= columns or not columns & {"label", "score"}:
            raise DataMissingError(
                f"{path} needs the columns file, split, and label or score; it has {sorted(columns)}"
            )
        rows = [_row(folder, number, cells) for number, cells in enumerate(reader, start=2)]
    _check_speakers(rows)
    return rows


def read_media(row: Row, wanted: Sequence[str] = ("sound", "face")) -> Media:
    """Decode what is wanted of a row's file; raises DataMissingError that names the row when it can't be decoded."""
    if row.file is None:
        return Media(None, None)
    try:
        with av.open(str(row.file)) as container:
            pcm = _sound(container, row) if container.streams.audio and "sound" in wanted else None
        with av.open(str(row.file)) as container:
            face = _face(container, row) if container.streams.video and "face" in wanted else None
    except av.FFmpegError as error:
        raise _broken(row.number, row.file.name, f"can't be decoded: {error}") from None
    return Media(pcm, face)


def find_face(image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the largest frontal face of an image [H, W, 3], cut out as the server cuts it, or None."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    factor = max(1.0, grey.shape[1] / _DETECTION_WIDTH)
    small = cv2.resize(grey, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    boxes = _detector().detectMultiScale(small, 1.1, 5, minSize=(24, 24))
    if len(boxes) == 0:
        return None
    left, top, width, height = (float(side) * factor for side in max(boxes, key=lambda box: int(box[2])))
    border = (1 - _FACE_SIDE) / 2
    return crop_square(image, (left + border * width, top + border * height, _FACE_SIDE * width, _FACE_SIDE * height))


def _row(folder: Path, number: int, cells: dict[str, str | None]) -> Row:
    values = {name: (value or "").strip() for name, value in cells.items() if name is not None}
    name = values.get("file", "")
    file = folder / name if name else None
    if file is not None and not file.is_file():
        raise _broken(number, name, "the file does not exist")
    if values["split"] not in SPLITS:
        raise _broken(number, name, f"split {values['split']!r} is none of {', '.join(SPLITS)}")
    score = _number(number, name, "score", values)
    if score is not None and not -1 <= score <= 1:
        raise _broken(number, name, f"score {score:g} is not in [-1, 1]")
    label = values.get("label") or None
    if label is None and score is None:
        raise _broken(number, name, "neither label nor score")
    if file is None and not values.get("text"):
        raise _broken(number, name, "neither file nor text")
    start = _number(number, name, "start_s", values) or 0.0
    end = _number(number, name, "end_s", values)
    if end is not None and end <= start:
        raise _broken(number, name, f"end_s {end:g} is not after start_s {start:g}")
    return Row(
        number,
        file,
        cast(Split, values["split"]),
        label,
        score,
        values.get("text", ""),
        values.get("speaker", ""),
        start,
        math.inf if end is None else end,
    )


def _number(number: int, name: str, column: str, values: dict[str, str]) -> float | None:
    text = values.get(column, "")
    try:
        value = float(text) if text else None
    except ValueError:
        raise _broken(number, name, f"{column} {text!r} is no number") from None
    if value is not None and not math.isfinite(value):
        raise _broken(number, name, f"{column} {text!r} is no finite number")
    return value


def _broken(number: int, name: str, why: str) -> DataMissingError:
    return DataMissingError(f"{TABLE} row {number} ({name or 'no file'}): {why}")


def _check_speakers(rows: list[Row]) -> None:
    home: dict[str, Row] = {}
    for row in rows:
        first = home.setdefault(row.speaker, row)
        if row.speaker and first.split != row.split:
            name = row.file.name if row.file else ""
            why = f"speaker {row.speaker!r} is in {row.split}, and in {first.split} in row {first.number}"
            raise _broken(row.number, name, f"{why}: a speaker belongs to one split")


def _sound(container: Any, row: Row) -> NDArray[np.float32] | None:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    samples = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
    end = len(samples) if math.isinf(row.end_s) else round(row.end_s * SAMPLE_RATE)
    cut = samples[round(row.start_s * SAMPLE_RATE) : end]
    if parts and not len(cut):
        raise _broken(row.number, row.file.name if row.file else "", f"the sound ends before start_s {row.start_s:g}")
    return np.ascontiguousarray(cut, dtype=np.float32) if len(cut) else None


def _face(container: Any, row: Row) -> NDArray[np.uint8] | None:
    """Look at a few images of the part, from the middle outwards."""
    length = (container.duration or 0) / av.time_base
    end = min(row.end_s, length)
    if end - row.start_s < _SHORTEST_FILM_S:  # a picture, which can't be sought in
        images: Iterator[Any] = itertools.islice(container.decode(video=0), 1)
    else:
        images = (_image_at(container, row.start_s + share * (end - row.start_s)) for share in _SHARES)
    faces = (find_face(image.to_ndarray(format="rgb24")) for image in images if image is not None)
    return next((face for face in faces if face is not None), None)


def _image_at(container: Any, time_s: float) -> Any:
    """Return the first image not before a time, or None."""
    container.seek(int(time_s * av.time_base))
    return next((frame for frame in container.decode(video=0) if (frame.time or 0.0) >= time_s - 1e-3), None)


@cache
def _detector() -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data/haarcascade_frontalface_alt2.xml"))
