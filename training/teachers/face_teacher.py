"""The face teacher: residual nets on FER2013's original pixels, taught by people's votes and by FER2013's labels.

Two heads on one body, since the two ways of labelling differ on three images of ten: `people` answers as FER+'s voters
do, `published` as FER2013's labels say. Training goes on from its checkpoint after any epoch.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.labels import EMOTIONS
from training.data.degraded_faces import degraded, detector_crop
from training.data.ferplus import SIDE, VotedFaces

log = logging.getLogger(__name__)

CLASSES: Final = len(EMOTIONS)


@dataclass(frozen=True)
class FaceRecipe:
    """How one net is trained."""

    widths: tuple[int, ...] = (48, 96, 192)
    """Channels of the stages, at 24, 12 and 6 pixels."""
    blocks: int = 2
    epochs: int = 24
    batch: int = 64
    learning_rate: float = 0.1
    """At its peak, of SGD with Nesterov's momentum."""
    weight_decay: float = 5e-4
    dropout: float = 0.4
    smoothing: float = 0.1
    """Of FER2013's labels."""
    mixup: float = 0.2
    """Parameter of the beta distribution; 0 for none."""
    degraded_share: float = 0.25
    """Of images that come compressed, small or dim."""
    seed: int = 0


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation, a squeeze-and-excitation gate, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(outputs, outputs // 8, 1),
            nn.ReLU(),
            nn.Conv2d(outputs // 8, outputs, 1),
            nn.Sigmoid(),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        y = self.body(x)
        joined: Tensor = (y * self.gate(y) + self.shortcut(x)).relu()
        return joined


class FaceNet(nn.Module):
    """Grey faces [B, 48, 48] of levels 0..255 -> logits of `people` [B, 7], of `published` [B, 7], pooled [B, D]."""

    def __init__(self, recipe: FaceRecipe) -> None:
        super().__init__()
        first = recipe.widths[0]
        # A stride in the first layer: at 48 pixels normalisation alone would cost as much as a stage.
        self.stem = nn.Sequential(nn.Conv2d(1, first, 5, 2, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        stages = []
        for number, (inputs, outputs) in enumerate(pairwise((first, *recipe.widths))):
            stages.append(Block(inputs, outputs, 1 if number == 0 else 2))
            stages += [Block(outputs, outputs, 1) for _ in range(recipe.blocks - 1)]
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(recipe.dropout)
        self.people = nn.Linear(recipe.widths[-1], CLASSES)
        self.published = nn.Linear(recipe.widths[-1], CLASSES)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        x = faces.float().unsqueeze(1)
        deviation, mean = torch.std_mean(x, dim=(2, 3), keepdim=True)
        pooled = self.stages(self.stem((x - mean) / (deviation + 8.0))).mean((2, 3))
        read = self.dropout(pooled)
        return self.people(read), self.published(read), pooled


def augmented(images: NDArray[np.uint8], generator: np.random.Generator, recipe: FaceRecipe) -> NDArray[np.uint8]:
    """Return faces [N, 48, 48] as detectors and cameras give them, half of them mirrored, a part of some hidden."""
    return np.stack([_augmented(image, generator, recipe) for image in images])


def _augmented(image: NDArray[np.uint8], generator: np.random.Generator, recipe: FaceRecipe) -> NDArray[np.uint8]:
    face = detector_crop(degraded(image, generator, recipe.degraded_share), generator, SIDE)
    if generator.random() < 0.5:
        face = cv2.flip(face, 1)  # type: ignore[assignment]
    if generator.random() < 0.3:
        top, left = generator.integers(0, SIDE - 8, 2)
        height, width = generator.integers(6, 17, 2)
        face = face.copy()
        face[top : top + height, left : left + width] = int(face.mean())
    return face


def face_loss(
    people: Tensor, published: Tensor, votes: Tensor, labels: Tensor, recipe: FaceRecipe
) -> dict[str, Tensor]:
    """Return terms [B]: cross entropy with people's shares, and with FER2013's labels.

    Args:
        people: logits [B, 7].
        published: logits [B, 7].
        votes: [B, 7], shares that sum to 1, or to 0 where there are none.
        labels: [B, 7], probabilities.
        recipe: has the smoothing of the labels.
    """
    smooth = (1 - recipe.smoothing) * labels + recipe.smoothing / CLASSES
    return {
        "people": -(votes * people.log_softmax(1)).sum(1),
        "published": -(smooth * published.log_softmax(1)).sum(1),
    }


class FaceTraining:
    """Trains one net and keeps its checkpoint."""

    def __init__(self, faces: VotedFaces, recipe: FaceRecipe, file: Path) -> None:
        """Go on from `file`, if it is there."""
        self.faces, self.recipe, self.file = faces, recipe, file
        torch.manual_seed(recipe.seed)
        self.net = FaceNet(recipe).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), recipe.learning_rate, 0.9, weight_decay=recipe.weight_decay, nesterov=True
        )
        self.epoch = 0
        self.votes = torch.from_numpy(faces.people)
        self.labels = nn.functional.one_hot(torch.from_numpy(faces.labels), CLASSES).float()
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)  # type: ignore[no-untyped-call]
        self.averaged = torch.optim.swa_utils.AveragedModel(self.net, multi_avg_fn=average, use_buffers=True)
        if file.is_file():
            self._resume()

    def run(self, after_epoch: Callable[[int, dict[str, float]], None]) -> nn.Module:
        """Train to the end; returns the running average of the weights."""
        while self.epoch < self.recipe.epochs:
            terms = self._one_epoch()
            self.epoch += 1
            self._save()
            after_epoch(self.epoch, terms)
        return self.averaged.eval()

    def _one_epoch(self) -> dict[str, float]:
        recipe, totals = self.recipe, {"people": 0.0, "published": 0.0}
        generator = np.random.default_rng((recipe.seed, self.epoch))
        torch.manual_seed(recipe.seed * 1000 + self.epoch)
        self.net.train()
        order = generator.permutation(len(self.faces))
        steps = len(order) // recipe.batch
        for step in range(steps):
            rows = order[step * recipe.batch : (step + 1) * recipe.batch]
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.learning_rate * self._pace(self.epoch + step / steps)
            terms = self._terms(rows, generator)
            loss = torch.stack([term.mean() for term in terms.values()]).sum()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self.optimizer.step()
            self.averaged.update_parameters(self.net)
            for name, term in terms.items():
                totals[name] += float(term.detach().mean()) / steps
        return totals

    def _terms(self, rows: NDArray[np.int64], generator: np.random.Generator) -> dict[str, Tensor]:
        recipe = self.recipe
        images = torch.from_numpy(augmented(self.faces.images[rows], generator, recipe)).float()
        votes, labels = self.votes[rows], self.labels[rows]
        if recipe.mixup:
            share = float(generator.beta(recipe.mixup, recipe.mixup))
            images, votes, labels = (share * x + (1 - share) * x.roll(1, 0) for x in (images, votes, labels))
        people, published, _ = self.net(images)
        return face_loss(people, published, votes, labels, recipe)

    def _pace(self, epoch: float) -> float:
        """Warm up for one epoch, then fall as a cosine."""
        if epoch < 1:
            return 0.05 + 0.95 * epoch
        return 0.5 * (1 + float(np.cos(np.pi * (epoch - 1) / max(1, self.recipe.epochs - 1)))) + 1e-4

    def _save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        state = {
            "epoch": self.epoch,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state_dict(),
        }
        torch.save(state, temporary)
        os.replace(temporary, self.file)

    def _resume(self) -> None:
        state = torch.load(self.file, weights_only=True)
        self.epoch = state["epoch"]
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged.load_state_dict(state["averaged"])


@torch.inference_mode()
def face_outputs(
    nets: Sequence[nn.Module], images: NDArray[np.uint8], batch: int = 128
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean log-probabilities of `people` and `published`, [N, 7] each, and the first net's pooled [N, D].

    Every net sees each face and its mirror image.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(images), batch):
        faces = torch.from_numpy(images[start : start + batch]).float()
        answers = [net(view) for net in nets for view in (faces, faces.flip(2))]
        people, published = (torch.stack([a[k].log_softmax(1) for a in answers]).mean(0) for k in (0, 1))
        parts.append((people, published, answers[0][2]))
    people, published, pooled = (torch.cat(column) for column in zip(*parts, strict=True))
    return people, published, pooled
