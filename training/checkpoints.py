"""Where a run keeps its best student: `<runs>/<model>/best.pt` and the metrics beside it."""

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

Student = TypeVar("Student", bound=nn.Module)


class CheckpointMissingError(Exception):
    """A student has not been trained yet."""


def save_student(student: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
    """Write the weights, and what was measured of them."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(student.state_dict(), folder / "best.pt")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def load_student(student: Student, folder: Path) -> Student:
    """Read the weights into `student` and return it; raises CheckpointMissingError."""
    path = folder / "best.pt"
    if not path.is_file():
        raise CheckpointMissingError(f"no checkpoint at {path}: run `python -m training train {folder.name}` first")
    student.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return student
