"""Many results side by side: mean and deviation over seeds, and what a run gains over another of the same seed.

Knows rows of numbers; where they come from is `read_rows`'s business, how they look that of tables and plots.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.engine.result import RESULT, read_report
from training.engine.tables import RecipeError


@dataclass(frozen=True)
class Row:
    """One run: the numbers that a comparison needs."""

    task: str
    title: str
    seed: int
    test: Mapping[str, float]
    """Metrics on the test split."""
    valid: Mapping[str, float] = field(default_factory=dict)
    parameters: int = 0
    cpu_ms: float = 0.0
    """Milliseconds of one sample on one CPU thread."""
    seconds: float = 0.0
    """Training time, without evaluations."""


@dataclass(frozen=True)
class Summary:
    """Runs that differ in their seed alone."""

    task: str
    title: str
    rows: tuple[Row, ...]

    def values(self, metric: str, split: str = "test") -> list[float]:
        """Return the metric of every run that has it."""
        sides = (row.test if split == "test" else row.valid for row in self.rows)
        return [side[metric] for side in sides if metric in side]

    def mean(self, metric: str, split: str = "test") -> float:
        """Return the mean over seeds; NaN without a run that has the metric."""
        values = self.values(metric, split)
        return statistics.fmean(values) if values else float("nan")

    def deviation(self, metric: str, split: str = "test") -> float:
        """Return the sample standard deviation over seeds (n - 1); NaN for a single run."""
        values = self.values(metric, split)
        return statistics.stdev(values) if len(values) > 1 else float("nan")

    @property
    def parameters(self) -> int:
        """Of the student."""
        return self.rows[0].parameters

    @property
    def cpu_ms(self) -> float:
        """Median over runs, which a neighbour's load disturbs less than the mean."""
        return statistics.median(row.cpu_ms for row in self.rows)

    @property
    def seconds(self) -> float:
        """Mean training time."""
        return statistics.fmean(row.seconds for row in self.rows)


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """Group rows by task and title, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.title), []).append(row)
    return [Summary(task, title, tuple(group)) for (task, title), group in groups.items()]


def gains(summary: Summary, control: Summary, metric: str) -> list[float]:
    """Return, for every seed that both have, the metric on test minus the control's."""
    by_seed = {row.seed: row.test for row in control.rows}
    return [
        row.test[metric] - by_seed[row.seed][metric]
        for row in summary.rows
        if metric in row.test and metric in by_seed.get(row.seed, {})
    ]


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """Read results: files of `distill`, folders that hold some, or JSONs of `bench`.

    Raises:
        RecipeError: a path without a result, or a file that is neither.
    """
    rows: list[Row] = []
    for path in paths:
        files = sorted(path.rglob(RESULT)) if path.is_dir() else [path]
        if not files:
            raise RecipeError(f"{path}: there is no {RESULT} in it or below")
        for file in files:
            rows += _rows_of_file(file)
    return rows


def row_of(report: Mapping[str, Any]) -> Row:
    """Return the row of a report of `distill`, or of a run in a suite's JSON."""
    metrics, student, seconds = report["metrics"], report["student"], report["seconds"]
    return Row(
        report["task"],
        report["title"],
        report["seed"],
        _numbers(metrics["test"]),
        _numbers(metrics["valid"]),
        student["parameters"],
        student["cpu_ms"],
        seconds.get("loading", 0.0) + seconds.get("computing", 0.0),
    )


def _rows_of_file(path: Path) -> list[Row]:
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    if isinstance(content, dict) and "suite" in content:
        return [row_of(run) for run in content["runs"] if not run.get("error")]
    return [row_of(read_report(path))]


def _numbers(measures: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in measures.items() if isinstance(value, (int, float))}
