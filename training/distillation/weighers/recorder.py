"""Keeps weights of teachers by step, so that their course can be plotted: the mean, and how they differ by sample.

Equal means can hide weights that move with every sample, or weights that never left 1 / K: the spread tells these
apart. Knows nothing of plotting and of training: it takes numbers by step, keeps them, and gives them back as columns
or CSV.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class WeightRecorder:
    """One row a step, two columns a teacher; part of the checkpoint, so that a resumed run has one course."""

    def __init__(self) -> None:
        self.teachers: list[str] = []
        self.steps: list[int] = []
        self.rows: list[list[float]] = []
        self.spread_rows: list[list[float]] = []

    def add(self, step: int, means: Mapping[str, float], spreads: Mapping[str, float]) -> None:
        """Record the mean weight of every teacher, and the standard deviation of its weights over samples.

        Raises:
            ValueError: the teachers are not those of the rows before.
        """
        if self.rows and list(means) != self.teachers:
            raise ValueError(f"the recorded weights are of {', '.join(self.teachers)}, not of {', '.join(means)}")
        self.teachers = list(means)
        self.steps.append(step)
        self.rows.append(list(means.values()))
        self.spread_rows.append([spreads[name] for name in means])

    def columns(self) -> dict[str, list[float]]:
        """Return teacher -> its mean weight at each of `steps`."""
        return {name: [row[k] for row in self.rows] for k, name in enumerate(self.teachers)}

    def spreads(self) -> dict[str, list[float]]:
        """Return teacher -> standard deviation of its weights over samples, at each of `steps`."""
        return {name: [row[k] for row in self.spread_rows] for k, name in enumerate(self.teachers)}

    def save(self, path: Path) -> None:
        """Write the columns as CSV: the means by the teachers' names, then `TEACHER std`."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", *self.teachers, *(f"{name} std" for name in self.teachers)])
            rows = zip(self.steps, self.rows, self.spread_rows, strict=True)
            writer.writerows([step, *means, *spreads] for step, means, spreads in rows)

    def state_dict(self) -> dict[str, Any]:
        """Return all rows."""
        return {
            "teachers": list(self.teachers),
            "steps": list(self.steps),
            "rows": [list(row) for row in self.rows],
            "spread_rows": [list(row) for row in self.spread_rows],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the rows of a checkpoint."""
        self.teachers, self.steps = list(state["teachers"]), list(state["steps"])
        self.rows = [list(row) for row in state["rows"]]
        self.spread_rows = [list(row) for row in state["spread_rows"]]
