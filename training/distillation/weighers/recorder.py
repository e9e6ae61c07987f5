"""Keeps the mean weight of every teacher at every step, so that the course of the weights can be plotted.

Knows nothing of plotting and of training: it takes numbers by step, keeps them, and gives them back as columns or CSV.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


class WeightRecorder:
    """One row a step, one column a teacher; part of the checkpoint, so that a resumed run has one course."""

    def __init__(self) -> None:
        self.teachers: list[str] = []
        self.steps: list[int] = []
        self.rows: list[list[float]] = []

    def add(self, step: int, weights: Tensor, teachers: Iterable[str]) -> dict[str, float]:
        """Record the mean over the batch of weights [B, K], and return it by teacher.

        Raises:
            ValueError: the teachers are not those of the rows before.
        """
        names = list(teachers)
        if self.rows and names != self.teachers:
            raise ValueError(f"the recorded weights are of {', '.join(self.teachers)}, not of {', '.join(names)}")
        means: list[float] = weights.detach().double().mean(dim=0).tolist()
        self.teachers = names
        self.steps.append(step)
        self.rows.append(means)
        return dict(zip(names, means, strict=True))

    def columns(self) -> dict[str, list[float]]:
        """Return teacher -> its mean weight at each of `steps`."""
        return {name: [row[k] for row in self.rows] for k, name in enumerate(self.teachers)}

    def save(self, path: Path) -> None:
        """Write the columns as CSV."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", *self.teachers])
            writer.writerows([step, *row] for step, row in zip(self.steps, self.rows, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return all rows."""
        return {"teachers": list(self.teachers), "steps": list(self.steps), "rows": [list(row) for row in self.rows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the rows of a checkpoint."""
        self.teachers, self.steps = list(state["teachers"]), list(state["steps"])
        self.rows = [list(row) for row in state["rows"]]
