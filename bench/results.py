"""Results as tables: a row a run, a trial or a teacher, in one CSV a suite; tests and facts about tasks in two more.

Knows how they are kept; nothing of how they came about or how they look.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from bench.search import Knobs
from bench.statistics import paired_bootstrap
from training.engine.metrics import chosen_by
from training.engine.result import PREDICTIONS

Row = dict[str, Any]
TESTS: Final = "tests.csv"
TASKS: Final = "tasks.csv"
ACCURACY: Final = "accuracy"
SUBSETS: Final = "subset_accuracy"
"""Accuracy, averaged over the subsets of modalities that there are."""
LOST: Final = "lost_accuracy"
"""Accuracy on complete samples less that average: the points that are lost with the modalities."""
ON: Final = "on "
"""Begins columns of accuracy on a subset of modalities: `on a-t`."""
WITHOUT: Final = "missing "
"""Begins columns of accuracy with a share of modalities missing: `missing 0.3`."""
_DIGITS: Final = {"ece": 3, "scaled_ece": 3, "mae": 3, "pearson": 3, "seconds": 1, "p": 4}
_RUN_COLUMNS: Final = ("kind", "task", "title", "seed", "knobs", "valid", "error")


@dataclass(frozen=True)
class Results:
    """What is known of one suite."""

    runs: pd.DataFrame
    """`kind` (run, trial or teacher), `task`, `title`, `seed`, `knobs`, `valid` (what validation chose by),
    what test measured, `parameters`, `cpu_ms`, `seconds`, `chosen_at` (where in the run validation chose, 1 at its
    end), `weights` at the end, `error`."""
    tests: pd.DataFrame
    """`suite`, `task`, `title`, `against`, `metric`, `over` (conversations or seeds), `seeds`, and a `Difference`."""
    tasks: pd.DataFrame
    """`suite`, `task`, `metric`, `labels`, `chance` on validation, size of test, fingerprint, command, machine."""


def read(folder: Path, suite: str) -> Results:
    """Read what a folder has of a suite; empty tables where it has nothing."""
    tests, tasks = (_read(folder / name, ("suite", "task")) for name in (TESTS, TASKS))
    runs = _read(folder / f"{suite}.csv", _RUN_COLUMNS)
    return Results(runs, tests[tests["suite"] == suite], tasks[tasks["suite"] == suite])


def write(folder: Path, suite: str, results: Results) -> None:
    """Write a suite's tables, in the place of what is there of the same tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    renewed = set(results.tasks["task"])
    for name, frame in ((f"{suite}.csv", results.runs), (TESTS, results.tests), (TASKS, results.tasks)):
        path = folder / name
        earlier = _read(path, ("suite", "task"))
        if len(earlier):
            own = earlier["suite"].eq(suite) if "suite" in frame or name != f"{suite}.csv" else True
            earlier = earlier[~(earlier["task"].isin(renewed) & own)]
        whole = pd.concat([earlier, frame], ignore_index=True) if len(earlier) else frame
        beside = path.with_suffix(".part")
        whole.dropna(axis="columns", how="all").to_csv(beside, index=False)
        beside.replace(path)


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as a table whose numbers are rounded."""
    table = pd.DataFrame(list(rows))
    for name in table.select_dtypes("float").columns:
        table[name] = table[name].round(_DIGITS.get(name, 2))
    return table


def run_row(kind: str, task: str, title: str, seed: int, knobs: Knobs, report: Mapping[str, Any]) -> Row:
    """Return the row of a run or trial, from what `distill` reports."""
    row: Row = {"kind": kind, "task": task, "title": title, "seed": seed, "knobs": spelled(knobs)}
    if "error" in report:
        return {**row, "error": report["error"]}
    metrics = report["metrics"]
    row["valid"] = chosen_by(report["metric"], metrics["valid"])
    if kind == "trial":
        return row
    seconds = report["seconds"]
    row |= numbers(metrics["test"])
    row |= {f"{ON}{subset}": found["accuracy"] for subset, found in metrics.get("subsets", {}).items()}
    row |= {f"{WITHOUT}{rate}": found["accuracy"] for rate, found in metrics.get("dropout", {}).items()}
    row |= {"parameters": report["student"]["parameters"], "cpu_ms": report["student"]["cpu_ms"]}
    row |= {"seconds": seconds["loading"] + seconds["computing"], "chosen_at": report["chosen_step"] / report["steps"]}
    return row


def teacher_row(task: str, title: str, metric: str, said: Mapping[str, Any]) -> Row:
    """Return the row of a teacher, from a survey."""
    row: Row = {"kind": "teacher", "task": task, "title": title}
    if "error" in said:
        return {**row, "error": said["error"]}
    return {**row, "valid": said["valid"][metric], **numbers(said["test"])}


def numbers(measures: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures that are single numbers."""
    return {name: value for name, value in measures.items() if isinstance(value, (int, float))}


def spelled(values: Mapping[str, Any]) -> str:
    """Return `name=value` pairs in one cell."""
    return "; ".join(f"{name}={value}" for name, value in values.items())


def read_spelled(cell: object) -> dict[str, float | str]:
    """Read them back."""
    found: dict[str, float | str] = {}
    for pair in cell.split("; ") if isinstance(cell, str) and cell else []:
        name, _, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


def weights_at_end(course: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the last mean weight of every source, averaged over the student's streams behind `>`."""
    found: dict[str, list[float]] = {}
    for name, values in course.items():
        if name != "steps" and values:
            found.setdefault(name.partition(">")[0], []).append(values[-1])
    return {name: round(float(np.mean(values)), 3) for name, values in found.items()}


def compare(task: str, pairs: Iterable[tuple[str, str]], folders: Mapping[str, Mapping[int, Path]]) -> list[Row]:
    """Test pairs of titles by paired bootstraps over conversations: accuracy on test, and where runs were asked about
    subsets of modalities, its mean over them and what is lost with them.

    Args:
        task: of the rows.
        pairs: (title, against).
        folders: title -> seed -> folder of the run, with its predictions.
    """
    answers = {title: {seed: _answers(folder) for seed, folder in runs.items()} for title, runs in folders.items()}
    rows = []
    for metric in (ACCURACY, SUBSETS, LOST):
        for title, against in pairs:
            a, b = answers.get(title, {}), answers.get(against, {})
            seeds = [seed for seed in sorted(set(a) & set(b)) if metric in a[seed] and metric in b[seed]]
            if seeds:
                this, that = ([side[seed][metric] for seed in seeds] for side in (a, b))
                found = vars(paired_bootstrap(this, that, a[seeds[0]]["unit"]))
                about = {"task": task, "title": title, "against": against, "metric": metric}
                rows.append({**about, "over": "conversations", "seeds": len(seeds), **found})
    return rows


def _answers(folder: Path) -> dict[str, Any]:
    """By metric [N], 1 where the answer is right, or the share of subsets on which it is; and `unit` [N]."""
    path = folder / PREDICTIONS
    if not path.is_file():
        return {}
    with np.load(path) as kept:
        if not {"logits", "target"} <= set(kept.files):
            return {}
        target = kept["target"]
        found = {"unit": kept["unit"], ACCURACY: (kept["logits"].argmax(-1) == target).astype(np.float64)}
        if "subset_logits" in kept.files:
            found[SUBSETS] = (kept["subset_logits"].argmax(-1) == target).mean(0)
            found[LOST] = found[ACCURACY] - found[SUBSETS]
    return {name: values[target >= 0] for name, values in found.items()}


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    found = pd.read_csv(path, dtype={"knobs": str}) if path.is_file() else pd.DataFrame()
    return found.reindex(columns=[*found.columns, *(name for name in columns if name not in found.columns)])
