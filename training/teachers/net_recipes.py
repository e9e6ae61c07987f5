"""How nets of a task are trained: hyper-parameters, and the loss on labels.

Knows outputs and labels; the loop is in training/teachers/trained.py.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from contract.labels import MODALITIES
from training.distillation.outputs import Output

LOGITS = ".logits"
"""How the names of features end that are some modality's logits: their axes mean the same in every net."""


@dataclass(frozen=True)
class NetRecipe:
    """How a net is trained."""

    epochs: int
    learning_rate: float = 2e-3
    batch: int = 64
    """Samples, or conversations where the task has them."""
    weight_decay: float = 0.05
    smoothing: float = 0.1
    """Of the labels."""
    seed: int = 0

    def key(self) -> dict[str, object]:
        """For the cache."""
        return asdict(self)

    def loss(self, output: Output, target: Tensor, score: Tensor | None) -> Tensor:
        """Return the mean cross entropy of logits [B, C] with targets [B]; scores are left alone."""
        return nn.functional.cross_entropy(known(output.logits), target, label_smoothing=self.smoothing)


@dataclass(frozen=True)
class ScoredRecipe(NetRecipe):
    """How a net that also scores is trained; of its epochs the one with the least loss on `valid` is kept."""

    score: float = 1.0
    """Factor of the score's squared error in the loss."""

    def loss(self, output: Output, target: Tensor, score: Tensor | None) -> Tensor:
        """Return cross entropy and squared error, the mean over the samples whose label is known."""
        loss = super().loss(output, target, score)
        if score is not None and output.score is not None:
            loss = loss + self.score * (output.score - score).square().mean()
        return loss


@dataclass(frozen=True)
class StreamsRecipe(ScoredRecipe):
    """How a multimodal net is trained whose modalities also answer alone, by heads that nothing else would train."""

    alone: float = 1.0
    """Factor in the loss of the modalities' mean cross entropy."""

    def loss(self, output: Output, target: Tensor, score: Tensor | None) -> Tensor:
        """Return that of a net that scores, and of the features `<modality>.logits` over the samples that have it."""
        losses = []
        for name in (name for name in output.features if name.endswith(LOGITS)):
            there = there_of(output, name)
            rows = slice(None) if there is None else there > 0
            logits, own = output.features[name][rows], target[rows]
            if len(own):
                losses.append(nn.functional.cross_entropy(logits, own, label_smoothing=self.smoothing))
        loss = super().loss(output, target, score)
        return loss + self.alone * torch.stack(losses).mean() if losses else loss


def known(tensor: Tensor | None) -> Tensor:
    """Return a part of an output that every net of a task gives."""
    assert tensor is not None, "nets of a task classify, and all alike"
    return tensor


def there_of(output: Output, name: str) -> Tensor | None:
    """Where a feature says something: its mask [N, T], or of a single modality's [N, D] its column of `present`."""
    modality = name.split(".")[0]
    if output.present is not None and modality in MODALITIES:
        return output.present[:, MODALITIES.index(modality)]
    return output.masks.get(name)
