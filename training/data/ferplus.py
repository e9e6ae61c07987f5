"""FER2013 as cameras saw it: original pixels, FER2013's labels, and FER+'s ten votes an image (Barsoum et al. 2016).

Three files joined by split and index. Left out of training: images that also stand in valid or test (equal pixels, as
published or as equalised), and images that most people called no face.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.labels import EMOTIONS
from training.data import fer2013
from training.data.folder import DataMissingError, Split, corpus_file
from training.data.sentences import read_rows

ORIGINAL: Final = "original.npz"
VOTES: Final = "ferplus_votes.csv"
OTHER_VOTES: Final = ("contempt", "unknown", "not_a_face")
SIDE: Final = 48


@dataclass(frozen=True)
class VotedFaces:
    """N faces of one split."""

    images: NDArray[np.uint8]
    """[N, 48, 48], original pixels."""
    labels: NDArray[np.int64]
    """[N], FER2013's, indices of contract.labels.EMOTIONS."""
    votes: NDArray[np.float32]
    """[N, 7], people's votes for contract.labels.EMOTIONS; all 0 where there are none."""
    other: NDArray[np.float32]
    """[N, 3], their votes for contempt, unknown and not a face."""
    duplicate: NDArray[np.bool_]
    """[N], whether the image also stands in the training part (of valid and test), or in valid or test (of train)."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[Any]) -> "VotedFaces":
        """Return a part."""
        return VotedFaces(*(array[index] for array in vars(self).values()))

    @property
    def people(self) -> NDArray[np.float32]:
        """[N, 7], the share of people's votes; all 0 where nobody voted for one of the seven."""
        total = self.votes.sum(1, keepdims=True)
        shares: NDArray[np.float32] = self.votes / np.maximum(total, 1.0)
        return shares

    @property
    def majority(self) -> NDArray[np.int64]:
        """[N], the emotion that more than half of all votes are for, or -1."""
        everyone = self.votes.sum(1) + self.other.sum(1)
        clear = self.votes.max(1) > 0.5 * everyone
        return np.where(clear & (everyone > 0), self.votes.argmax(1), -1)

    @property
    def plurality(self) -> NDArray[np.int64]:
        """[N], the emotion with more votes than anything else, or -1: a weaker word than `majority`, more images."""
        every = np.concatenate([self.votes, self.other], axis=1)
        best = every.argmax(1)
        alone = (every == every.max(1, keepdims=True)).sum(1) == 1
        return np.where(alone & (best < len(EMOTIONS)), best, -1)


def load_faces(root: Path, split: Split) -> VotedFaces:
    """Return one split; of `train` only images that are in no other split and that people took for a face.

    Raises:
        DataMissingError: a file, array or column is missing, or the parts do not fit together.
    """
    faces = _joined(root, split)
    if split != "train":
        return faces
    splits: tuple[Split, Split] = ("valid", "test")
    held = {image.tobytes() for other in splits for image in _originals(root, other)[0]}
    new = np.array([image.tobytes() not in held for image in faces.images])
    return faces.take(new & ~faces.duplicate & (faces.other[:, 2] <= faces.votes.sum(1)))


def _joined(root: Path, split: Split) -> VotedFaces:
    images, index = _originals(root, split)
    equalised = fer2013.read_split(root, split)
    if len(index) and index.max() >= len(equalised):
        raise DataMissingError(f"{ORIGINAL}: index {index.max()} of {split}, whose npz has {len(equalised)} images")
    votes, other = _votes(root, split, index)
    duplicate = _duplicates(root, split, equalised.images[index])
    return VotedFaces(images, equalised.labels[index], votes, other, duplicate)


def _originals(root: Path, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images of a split [N, 48, 48], and their places in its npz [N]."""
    path = corpus_file(root, "fer2013", ORIGINAL)
    with np.load(path) as archive:
        missing = {"split", "splits", "index", "length", "webp"} - set(archive.files)
        if missing:
            raise DataMissingError(f"{path} has no array {', '.join(sorted(missing))}")
        names = [str(name) for name in archive["splits"]]
        chosen = np.flatnonzero(archive["split"] == names.index(split))
        index = archive["index"].astype(np.int64)[chosen]
        return _decoded(archive["webp"], archive["length"], chosen, path), index


def _decoded(webp: NDArray[np.uint8], length: NDArray[Any], chosen: NDArray[np.int64], path: Path) -> NDArray[np.uint8]:
    end = np.cumsum(length, dtype=np.int64)
    images = np.empty((len(chosen), SIDE, SIDE), np.uint8)
    for place, row in enumerate(chosen):
        image = cv2.imdecode(webp[end[row] - int(length[row]) : end[row]], cv2.IMREAD_GRAYSCALE)
        if image is None or image.shape != (SIDE, SIDE):
            raise DataMissingError(f"{path}: image {row} is no grey image of {SIDE} x {SIDE}")
        images[place] = image
    return images


def _votes(root: Path, split: Split, index: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    place = {int(number): i for i, number in enumerate(index)}
    votes = np.zeros((len(index), len(EMOTIONS)), np.float32)
    other = np.zeros((len(index), len(OTHER_VOTES)), np.float32)
    columns = ("split", "index", *EMOTIONS, *OTHER_VOTES)
    for row in read_rows(corpus_file(root, "fer2013", VOTES), columns):
        i = place.get(int(row["index"])) if row["split"] == split else None
        if i is not None:
            votes[i] = [float(row[name]) for name in EMOTIONS]
            other[i] = [float(row[name]) for name in OTHER_VOTES]
    return votes, other


def _duplicates(root: Path, split: Split, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    others: tuple[Split, ...] = ("valid", "test") if split == "train" else ("train",)
    held = {image.tobytes() for other in others for image in fer2013.read_split(root, other).images}
    return np.array([image.tobytes() in held for image in images], dtype=np.bool_)
