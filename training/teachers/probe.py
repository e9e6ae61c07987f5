"""A small net over a teacher's frozen features, trained so that what it says about a training sample is out of fold.

The nets of different folds would each put `penultimate` into a space of their own, where distances between samples of
different folds mean nothing. So each is rotated onto the net that all training samples made (orthogonal Procrustes,
Schönemann 1966), on the samples that both have seen.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import torch
from torch import Tensor, nn

from training.data.folder import Split
from training.distillation.outputs import Output
from training.teachers.fit import Pace, fit

FOLDS: Final = 5


@dataclass(frozen=True)
class ProbeRecipe:
    """How the probes are trained."""

    hidden: int = 128
    """Width of each net's hidden layer; `penultimate` holds those of all seeds."""
    seeds: int = 3
    """Nets whose logits are averaged."""
    steps: int = 400
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    dropout: tuple[float, float] = (0.3, 0.5)
    """Of the inputs, and of the hidden layer."""
    smoothing: float = 0.1
    """Of the labels."""

    def key(self) -> dict[str, object]:
        """For the cache."""
        return asdict(self)


class Probe(nn.Module):
    """[B, F] -> hidden [B, H] -> logits [B, C]."""

    def __init__(self, inputs: int, classes: int, recipe: ProbeRecipe) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Dropout(recipe.dropout[0]), nn.Linear(inputs, recipe.hidden), nn.ReLU())
        self.leave = nn.Sequential(nn.Dropout(recipe.dropout[1]), nn.Linear(recipe.hidden, classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden and logits."""
        hidden = self.enter(x)
        return hidden, self.leave(hidden)


def folds_of(groups: Tensor, folds: int = FOLDS) -> Tensor:
    """Return [N] fold numbers such that all samples of one group (int64 [N]) share a fold."""
    position: Tensor = torch.unique(groups, return_inverse=True)[1]
    return position % folds


def out_of_fold(
    x: Mapping[Split, Tensor], target: Tensor, fold: Tensor, classes: int, recipe: ProbeRecipe
) -> dict[Split, Output]:
    """Train one ensemble a fold and one on all, and return logits and `penultimate` for every split.

    Args:
        x: features [N, F] of every split; standardised here with the training statistics.
        target: class indices of the training samples.
        fold: fold numbers of the training samples.
        classes: number of classes.
        recipe: see there.
    """
    mean, deviation = x["train"].mean(0), x["train"].std(0) + 1e-5
    scaled = {split: ((part - mean) / deviation).clamp(-8, 8) for split, part in x.items()}
    train = scaled["train"]
    whole = _ensemble(train, target, classes, recipe)
    outputs = {split: _outputs(*_apply(whole, part)) for split, part in scaled.items() if split != "train"}
    hidden, logits = torch.zeros(len(train), recipe.hidden * recipe.seeds), torch.zeros(len(train), classes)
    for number in torch.unique(fold).tolist():
        unseen = fold == number
        part = _ensemble(train[~unseen], target[~unseen], classes, recipe)
        rotate = Procrustes.onto(_apply(part, train[~unseen])[0], _apply(whole, train[~unseen])[0])
        own, logits[unseen] = _apply(part, train[unseen])
        hidden[unseen] = rotate(own)
    return outputs | {"train": _outputs(hidden, logits)}


@dataclass(frozen=True)
class Procrustes:
    """A rotation between two spaces of features, with the means that it rotates about."""

    source: Tensor
    target: Tensor
    rotation: Tensor

    @classmethod
    def onto(cls, source: Tensor, target: Tensor) -> "Procrustes":
        """Return the rotation of `source` [N, D] that comes nearest to `target` [N, D]."""
        a, b = source.mean(0), target.mean(0)
        left, _, right = torch.linalg.svd((source - a).T @ (target - b), full_matrices=False)
        return cls(a, b, left @ right)

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate [..., D]."""
        rotated: Tensor = (x - self.source) @ self.rotation + self.target
        return rotated


def _ensemble(x: Tensor, y: Tensor, classes: int, recipe: ProbeRecipe) -> list[Probe]:
    return [_train(x, y, classes, recipe, seed) for seed in range(recipe.seeds)]


def _train(x: Tensor, y: Tensor, classes: int, recipe: ProbeRecipe, seed: int) -> Probe:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Probe(x.shape[1], classes, recipe)
        drawn = (torch.randint(len(x), (recipe.batch,)) for _ in range(recipe.steps))
        pace = Pace(recipe.learning_rate, recipe.weight_decay, warm_up=0.0, clip_norm=math.inf)

        def loss(index: Tensor) -> Tensor:
            return nn.functional.cross_entropy(net(x[index])[1], y[index], label_smoothing=recipe.smoothing)

        fit(net, drawn, recipe.steps, loss, pace)
    return net.eval()


@torch.no_grad()
def _apply(nets: list[Probe], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the hidden layers side by side, and the mean logits."""
    hidden, logits = zip(*(net(x) for net in nets), strict=True)
    return torch.cat(hidden, dim=-1), torch.stack(logits).mean(0)


def _outputs(hidden: Tensor, logits: Tensor) -> Output:
    return Output(logits=logits, features={"penultimate": hidden})
