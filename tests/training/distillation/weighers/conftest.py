"""Outputs of a student and four teachers in float64, for tests of weighers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.distillation.outputs import Batch, Output

Draw = Callable[..., Tensor]
TEACHERS = ("large", "small", "other", "v2.0")


@pytest.fixture
def draw() -> Draw:
    """Normal numbers of a shape, float64, the same in every run."""
    generator = torch.Generator().manual_seed(4321)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def world(draw: Draw) -> Callable[..., tuple[Output, dict[str, Output], Batch]]:
    """Make a student, up to four teachers of different widths, and their batch."""

    def make(teachers: int = 4, samples: int = 6, classes: int = 3) -> tuple[Output, dict[str, Output], Batch]:
        mask = torch.ones(samples, 5)
        mask[0, 2:] = 0
        student = Output(2 * draw(samples, classes), draw(samples).tanh(), features={"h": draw(samples, 5, 4)})
        student.masks["h"] = mask
        outputs = {
            name: Output(2 * draw(samples, classes), draw(samples).tanh(), features={"h": draw(samples, 5, 3 + k)})
            for k, name in enumerate(TEACHERS[:teachers])
        }
        batch = Batch(torch.arange(samples) % classes, draw(samples).tanh(), torch.arange(samples))
        return student, outputs, batch

    return make
