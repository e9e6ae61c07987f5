"""Toy outputs in float64 for tests of methods."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.distillation.outputs import Batch, Output

Draw = Callable[..., Tensor]
STUDENT_WIDTH, TEACHER_WIDTHS, STEPS, TEACHER_STEPS = 6, {"large": 8, "small": 5}, 4, {"large": 7, "small": 4}
UNITS = torch.tensor([7, 7, 7, 2, 2, 5])
"""Conversations of the first six samples of a batch."""


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Tensors of a hundred numbers: a second thread would only wait for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def draw() -> Draw:
    """Normal numbers of a shape, float64, the same in every run."""
    generator = torch.Generator().manual_seed(1234)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def world(draw: Draw) -> Callable[..., tuple[Output, dict[str, Output], Batch]]:
    """Make a student, two teachers and their batch: `form` of the features is sequence, map or vector, or streams:
    multimodal outputs of utterances, of which some lack modalities."""

    def make(form: str = "sequence", samples: int = 6, classes: int = 4) -> tuple[Output, dict[str, Output], Batch]:
        student = _output(draw, form, samples, classes, STUDENT_WIDTH, STEPS)
        teachers = {
            name: _output(draw, form, samples, classes, width, TEACHER_STEPS[name])
            for name, width in TEACHER_WIDTHS.items()
        }
        batch = Batch(
            target=torch.arange(samples) % classes,
            score=draw(samples).tanh(),
            index=torch.arange(samples) * 3 + 100,
            step=50,
            total_steps=100,
            unit=UNITS[:samples],
        )
        return student, teachers, batch

    return make


def _output(draw: Draw, form: str, samples: int, classes: int, width: int, steps: int) -> Output:
    if form == "streams":
        return _multimodal(draw, samples, classes, width, lacking=2 if width == STUDENT_WIDTH else 1)
    shape = {"sequence": (steps, width), "map": (width, steps, steps + 1), "vector": (width,)}[form]
    output = Output(
        logits=2 * draw(samples, classes), score=draw(samples).tanh(), variance=draw(samples).square() + 0.1
    )
    output.features = {"h1": draw(samples, *shape), "h2": draw(samples, *shape)}
    if form == "sequence":
        mask = torch.ones(samples, steps)
        mask[0, steps // 2 :] = 0
        mask[1, :1] = 0
        output.masks = {"h1": mask, "h2": mask}
    return output


def _multimodal(draw: Draw, samples: int, classes: int, width: int, lacking: int) -> Output:
    """Sample 0 lacks audio, and with `lacking` of 2 sample 1 has nothing but text; absent features are 0."""
    output = Output(
        logits=2 * draw(samples, classes), score=draw(samples).tanh(), variance=draw(samples).square() + 0.1
    )
    output.present = torch.ones(samples, len(MODALITIES))
    output.present[0, 0] = 0
    if lacking > 1:
        output.present[1, :2] = 0
    for place, modality in enumerate(MODALITIES):
        there = output.present[:, place : place + 1].double()
        output.features[modality] = draw(samples, width - 2 + place) * there
        output.features[f"{modality}.logits"] = 2 * draw(samples, classes) * there
    output.features["penultimate"] = draw(samples, width)
    return output
