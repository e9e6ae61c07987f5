"""What students and teachers give out, and the batch it was computed for: all that a method or a weigher may see."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

Inputs = dict[str, Tensor]
"""What a student reads: name -> [B, ...]. A mask is called `<input>_mask`, 1 where there is something."""


@dataclass
class Output:
    """Outputs of one model for a batch of B samples."""

    logits: Tensor | None = None
    """[B, C], before any softmax; None for a model that only scores."""
    score: Tensor | None = None
    """[B], a continuous sentiment; None for a model that only classifies."""
    variance: Tensor | None = None
    """[B], of the score, where the model gives one."""
    features: dict[str, Tensor] = field(default_factory=dict)
    """Layer name -> [B, T, D] for sequences, [B, D, H, W] for maps, or [B, D]."""
    masks: dict[str, Tensor] = field(default_factory=dict)
    """Layer name -> [B, T], 1 where the sequence has a step; layers without one have all their steps."""
    present: Tensor | None = None
    """[B, 3], 1 where the sample has audio, video, text."""
    heads: dict[str, Tensor] = field(default_factory=dict)
    """Further heads than the one that `logits` is of: name -> [B, K] or [B, T, K], logits that the task's own loss
    reads."""

    @property
    def device_type(self) -> str:
        """Where the outputs lie: `cpu`, `cuda`; `cpu` for an empty output."""
        return next((tensor.device.type for tensor in self._tensors()), "cpu")

    def lifted(self) -> "Output":
        """The same outputs with half precision raised to float32; other tensors are not copied."""
        return replace(
            self,
            logits=None if self.logits is None else _lift(self.logits),
            score=None if self.score is None else _lift(self.score),
            variance=None if self.variance is None else _lift(self.variance),
            features={name: _lift(feature) for name, feature in self.features.items()},
            heads={name: _lift(head) for name, head in self.heads.items()},
        )

    def at(self, index: Tensor, device: torch.device | str = "cpu") -> "Output":
        """Return the rows `index` [M], on `device`."""

        def rows(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[index].to(device)

        def all_rows(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[index].to(device) for name, tensor in tensors.items()}

        return Output(
            rows(self.logits),
            rows(self.score),
            rows(self.variance),
            all_rows(self.features),
            all_rows(self.masks),
            rows(self.present),
            all_rows(self.heads),
        )

    def _tensors(self) -> Iterator[Tensor]:
        yield from (tensor for tensor in (self.logits, self.score) if tensor is not None)
        yield from self.features.values()


@dataclass
class Batch:
    """Labels and bookkeeping of a batch."""

    target: Tensor | None = None
    """[B], class index."""
    score: Tensor | None = None
    """[B], a continuous sentiment."""
    index: Tensor | None = None
    """[B], sample ids: the position in the training set."""
    step: int = 0
    """Optimiser steps done so far."""
    total_steps: int = 0
    """Steps of the whole run, for warm-ups; 0 when unknown."""
    unit: Tensor | None = None
    """[B], number of each sample's conversation, whose samples stand together in time order; None: every sample is for
    itself."""
    labels: dict[str, Tensor] = field(default_factory=dict)
    """Further labels than class and score: name -> [B, ...], what the task's own loss reads."""


def _lift(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
