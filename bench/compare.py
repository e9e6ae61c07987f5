"""Runs of `distill` side by side."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.results import run_row
from training.engine.result import RESULT, read_report
from training.engine.tables import RecipeError


def compared(paths: Sequence[Path], metric: str) -> list[tuple[str, ...]]:
    """Return a row of cells for each title: task, title, runs, metric on validation and on test, cost.

    Args:
        paths: results, or folders that hold some.
        metric: what is compared.

    Raises:
        RecipeError: a path without a result, or a metric that no run measured.
    """
    files = [file for path in paths for file in (sorted(path.rglob(RESULT)) if path.is_dir() else [path])]
    if not files:
        raise RecipeError(f"{', '.join(map(str, paths))}: there is no {RESULT} in it or below")
    rows = []
    for report in map(read_report, files):
        if metric not in report["metrics"]["test"]:
            raise RecipeError(f"{report['title']}: {metric!r} was not measured")
        facts = {**report, "metric": metric}
        rows.append(run_row("run", report["task"], report["title"], report["seed"], {}, facts))
    found: list[tuple[str, ...]] = []
    for (task, title), own in pd.DataFrame(rows).groupby(["task", "title"], sort=False):
        deviation = f" ± {own[metric].std():.2f}" if len(own) > 1 else ""
        test = f"{own[metric].mean():.2f}{deviation}"
        cost = f"{own['parameters'].iloc[0]:,}", f"{own['cpu_ms'].median():.2f}", f"{own['seconds'].mean():.0f}"
        found.append((str(task), str(title), str(len(own)), f"{own['valid'].mean():.2f}", test, *cost))
    return found
