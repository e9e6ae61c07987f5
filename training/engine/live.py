"""A teacher that can learn while its encoder stays in the cache: what `meta_teacher` moves.

The cached outputs of a teacher are constants. A live teacher adds to its logits a linear function of its last features,
zero at first, so that it begins as the cached teacher and learns as a fine-tuned head would.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from training.distillation.outputs import Output


class LiveTeacher(nn.Module):
    """z = z_cached + A norm(f) + b; f is the cached feature "penultimate" [B, D], A and b are zero at first."""

    def __init__(self, name: str, example: Output) -> None:
        """Take the widths from an example of the cached outputs.

        Raises:
            ValueError: the cache lacks logits, or the feature.
        """
        super().__init__()
        if example.logits is None or "penultimate" not in example.features:
            raise ValueError(f"teacher {name!r} can't learn: its cache needs logits and the feature 'penultimate'")
        width, classes = example.features["penultimate"].shape[-1], example.logits.shape[-1]
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, cached: Output) -> Output:
        """Return the cached outputs with the head's logits added."""
        assert cached.logits is not None
        logits: Tensor = cached.logits.float() + self.head(self.norm(cached.features["penultimate"].float()))
        return replace(cached, logits=logits)


def live_teachers(teachers: dict[str, Output], device: torch.device) -> dict[str, LiveTeacher]:
    """Return a live teacher for each cached one; raises ValueError."""
    return {name: LiveTeacher(name, output).to(device) for name, output in teachers.items()}
