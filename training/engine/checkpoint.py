"""Checkpoints from which a killed run goes on bit for bit: written whole or not at all.

Knows files and random generators; what stands in a checkpoint is the loop's business.
"""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


class ResumeError(Exception):
    """A checkpoint that doesn't belong to the run."""


def save_state(state: State, path: Path) -> None:
    """Write `state` to `path`; a kill at any moment leaves either the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load_state(path: Path, device: torch.device | str = "cpu") -> State | None:
    """Read what `save_state` wrote; None if there is nothing yet."""
    if not path.is_file():
        return None
    # Plain containers, tensors and numbers only: no code is read from a checkpoint.
    state: State = torch.load(path, map_location=device, weights_only=True)
    return state


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed Python, NumPy and torch; processes of other rank draw other numbers."""
    random.seed(seed * 1009 + rank)
    np.random.seed((seed * 1009 + rank) % 2**32)
    torch.manual_seed(seed * 1009 + rank)


def random_state() -> State:
    """Return where the global generators of Python, NumPy and torch stand in this process."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: State = {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: State) -> None:
    """Put the global generators back to where `random_state` found them."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
