import os
from collections.abc import Iterator

import psutil
import pytest

from tests.server.triton.processes import regions


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test leaves no process of its own and no shared memory with its process id behind."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    shm_before = set(regions(f"moodstream-{os.getpid()}-"))
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert not left
    assert set(regions(f"moodstream-{os.getpid()}-")) == shm_before
