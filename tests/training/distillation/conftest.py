"""Distillers and plain steps over the toy samples."""

from collections.abc import Callable, Iterator

import pytest
import torch

from tests.training.distillation.toy import Student, World
from training.distillation import Distiller, Plain, make_distiller


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are computed faster by one thread, the more so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def distill(world: World) -> Callable[..., Distiller]:
    """Make and build a distiller of a student in float64."""

    def make(methods=None, weigher=None, seed: int = 1, **student) -> Distiller:
        torch.manual_seed(seed)
        distiller = make_distiller(Student(**student).double(), {"kd": {}} if methods is None else methods, weigher)
        distiller.build(world.example())
        return distiller.double()

    return make


@pytest.fixture
def plain() -> Callable[..., Plain]:
    """Make the plain step of a distiller, with SGD of rate 1 and no clipping, so that a step is its gradient."""

    def make(distiller: Distiller, rate: float = 1.0, adam: bool = False) -> Plain:
        kind = torch.optim.AdamW if adam else torch.optim.SGD
        return Plain(distiller, kind(distiller.learnt_by_loss(), lr=rate), clip_norm=0.0)

    return make
