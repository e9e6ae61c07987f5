"""Trains the face student on FER2013: plain, with label smoothing, since its labels are noisy."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.data import fer2013
from training.data.folder import Split
from training.distillation.losses import classification, regression
from training.loop import Schedule, fit
from training.metrics import Scores, classification_scores, fit_temperature
from training.models.served.video import VideoEncoder
from training.recipes.run import Run, valence_table

EPOCHS: Final = 22
BATCH: Final = 128
LEARNING_RATE: Final = 3e-3
SMOOTHING: Final = 0.1
SENTIMENT_WEIGHT: Final = 0.5

_MAX_ROTATION: Final = math.radians(12)
_MAX_SHIFT: Final = 0.1
_MAX_ZOOM: Final = 0.12
_MAX_GAMMA: Final = 0.4
_MAX_NOISE: Final = 8.0

FaceBatch = tuple[Tensor, Tensor]


def train_video(run: Run) -> dict[str, float]:
    """Train, calibrate on validation and keep `<runs>/video_encoder/best.pt`; returns the validation metrics."""
    rng = run.start()
    student = VideoEncoder().to(memory_format=torch.channels_last)
    train, valid = (_load(run, split) for split in ("train", "valid"))
    valence = valence_table()

    def batches(_: int) -> Iterator[FaceBatch]:
        order = torch.from_numpy(rng.permutation(len(train[1])))
        for index in torch.split(order[: len(order) // BATCH * BATCH], BATCH):
            yield augment(train[0][index].float(), rng), train[1][index]

    def loss(batch: FaceBatch) -> Tensor:
        encoded = student.encode_grey(batch[0])
        terms = classification(encoded.logits, batch[1], SMOOTHING)
        return (terms + SENTIMENT_WEIGHT * regression(encoded.sentiment, valence[batch[1]])).mean()

    def validate() -> dict[str, float]:
        scores = classification_scores(video_logits(student, valid[0]), valid[1])
        return {"score": scores.accuracy, "macro_f1": scores.macro_f1}

    epochs = run.epochs or EPOCHS
    schedule = Schedule(epochs, len(train[1]) // BATCH, LEARNING_RATE, weight_decay=0.02)
    folder = run.runs / "video_encoder"
    best = fit(student, batches, loss, validate, schedule, folder)
    student.head.temperature.fill_(fit_temperature(video_logits(student, valid[0]), valid[1]))
    torch.save(student.state_dict(), folder / "best.pt")
    return best


def evaluate_video(student: VideoEncoder, run: Run) -> dict[str, Scores]:
    """Return calibrated scores by split; `test_clean` leaves out what FER2013 repeats in its training part."""
    scores: dict[str, Scores] = {}
    splits: tuple[Split, ...] = ("valid", "test")
    for split in splits:
        images, labels = _load(run, split)
        logits = video_logits(student, images) / student.head.temperature
        scores[split] = classification_scores(logits, labels)
    clean = torch.from_numpy(~fer2013.duplicates_of_train(run.data, fer2013.load(run.data, "test")))
    scores["test_clean"] = classification_scores(logits[clean], labels[clean])
    return scores


@torch.inference_mode()
def video_logits(student: VideoEncoder, images: Tensor) -> Tensor:
    """Return uncalibrated logits [N, 7] of grey images uint8 [N, 64, 64]."""
    student.eval()
    return torch.cat([student.encode_grey(part.float()).logits for part in torch.split(images, 512)])


def augment(grey: Tensor, rng: np.random.Generator) -> Tensor:
    """Flip, rotate, shift and zoom grey levels [B, 64, 64], change their gamma, add noise, erase a patch."""
    batch = len(grey)
    image = functional.grid_sample(
        grey.unsqueeze(1), _grid(batch, grey.shape[-1], rng), padding_mode="border", align_corners=False
    ).squeeze(1)
    gamma = torch.exp(_uniform(rng, (batch, 1, 1), _MAX_GAMMA))
    image = 255 * (image / 255).clamp(1e-4, 1) ** gamma
    image = image + torch.randn_like(image) * (_uniform(rng, (batch, 1, 1), 1).abs() * _MAX_NOISE)
    return _erase(image.clamp(0, 255), rng)


def _grid(batch: int, size: int, rng: np.random.Generator) -> Tensor:
    angle = _uniform(rng, (batch,), _MAX_ROTATION)
    zoom = 1 + _uniform(rng, (batch,), _MAX_ZOOM)
    flip = torch.from_numpy(rng.choice([-1.0, 1.0], batch).astype(np.float32))
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    shift = _uniform(rng, (batch, 2), _MAX_SHIFT)
    theta = torch.stack(
        [torch.stack([flip * cos, -sin, shift[:, 0]], 1), torch.stack([flip * sin, cos, shift[:, 1]], 1)], 1
    )
    return functional.affine_grid(theta, [batch, 1, size, size], align_corners=False)


def _erase(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Replace a patch of half of the images by their mean: a hand, a microphone."""
    size = image.shape[-1]
    low, extent = rng.integers(0, size - 12, (len(image), 2)), rng.integers(8, 22, (len(image), 2))
    extent[rng.random(len(image)) < 0.5] = 0
    axis = np.arange(size)
    rows, columns = ((axis >= low[:, i, None]) & (axis < (low + extent)[:, i, None]) for i in (0, 1))
    patch = torch.from_numpy(rows[:, :, None] & columns[:, None, :])
    return torch.where(patch, image.mean(dim=(1, 2), keepdim=True), image)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> Tensor:
    return torch.from_numpy(rng.uniform(-bound, bound, shape).astype(np.float32))


def _load(run: Run, split: Split) -> tuple[Tensor, Tensor]:
    faces = fer2013.load(run.data, split)
    images: NDArray[np.uint8] = fer2013.enlarge(faces.images)
    return torch.from_numpy(images), torch.from_numpy(faces.labels)
