"""FER2013 (Goodfellow et al. 2013): 48x48 grey faces with seven emotions.

7.8 % of its validation and test images stand in the training part too; `load` leaves those out of training, and also
training images that occur with two different labels.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.faces import resize_face
from contract.labels import EMOTIONS
from training.data.folder import DataMissingError, Split, corpus_file


@dataclass(frozen=True)
class Faces:
    """Images uint8 [N, 48, 48] and labels int64 [N], indices of contract.labels.EMOTIONS."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Faces":
        """Return a part."""
        return Faces(self.images[index], self.labels[index])


def load(root: Path, split: Split) -> Faces:
    """Return one split; of `train` only images that are in no other split and have one label."""
    faces = read_split(root, split)
    if split != "train":
        return faces
    held_out = {image.tobytes() for other in ("valid", "test") for image in read_split(root, other).images}
    labels_of: dict[bytes, set[int]] = {}
    for image, label in zip(faces.images, faces.labels, strict=True):
        labels_of.setdefault(image.tobytes(), set()).add(int(label))
    keep = [image.tobytes() not in held_out and len(labels_of[image.tobytes()]) == 1 for image in faces.images]
    return faces.take(np.array(keep))


def duplicates_of_train(root: Path, faces: Faces) -> NDArray[np.bool_]:
    """Return [N]: which of `faces` also stand in the training part as published."""
    train = {image.tobytes() for image in read_split(root, "train").images}
    return np.array([image.tobytes() in train for image in faces.images])


def enlarge(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return [N, 64, 64] of grey images [N, H, W], resized as the server resizes a face crop."""
    return np.stack([_grey_64(image) for image in images])


def to_rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return [N, 64, 64, 3], the FACE tensor, of grey images [N, 64, 64]."""
    return np.ascontiguousarray(np.broadcast_to(images[..., None], (*images.shape, 3)))


def _grey_64(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    return resize_face(rgb)[..., 0]


def read_split(root: Path, split: Split) -> Faces:
    """Return one split as published."""
    path = corpus_file(root, "fer2013", f"{split}.npz")
    with np.load(path) as archive:
        missing = {"image", "label", "classes"} - set(archive.files)
        if missing:
            raise DataMissingError(f"{path} has no array {', '.join(sorted(missing))}")
        order = np.array([EMOTIONS.index(str(name)) for name in archive["classes"]])
        return Faces(archive["image"], order[archive["label"].astype(np.int64)])
