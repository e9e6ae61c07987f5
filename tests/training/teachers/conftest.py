"""Weights that were fetched, where they were."""

from pathlib import Path

import pytest
import torch

WEIGHTS = Path(__file__).resolve().parents[3] / "cache/teachers"


@pytest.fixture(scope="session")
def weights():
    """Gives the folder of weights when a teacher's are there, else skips the test."""

    def folder(name: str) -> Path:
        if not (WEIGHTS / name).is_dir():
            pytest.skip(f"teacher {name} is not fetched")
        return WEIGHTS

    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """Nets as small as these get slower from a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
