"""Which entries of a suite differ beyond chance: paired bootstraps over conversations of what the runs said on test.

Reads the predictions that runs left behind (`Recipe.predictions`); knows nothing of how they came about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.distill.bootstrap import paired_bootstrap
from training.distill.result import PREDICTIONS
from training.distill.suite import Suite

T = TypeVar("T")
Folders = Mapping[str, Mapping[int, Path]]
"""Title -> seed -> folder of the run."""


def compare_entries(suite: Suite, task: str, folders: Folders) -> list[dict[str, Any]]:
    """Compare every entry of the task with the control, and the suite's pairs, by accuracy on test.

    Returns:
        By comparison `task`, `title`, `against`, `metric`, `seeds` (how many both have, over which correctness is
        averaged), and the fields of `Difference`. Entries without predictions are left out.
    """
    right = {title: {seed: _right(folder) for seed, folder in runs.items()} for title, runs in folders.items()}
    titles = [entry.title for entry in suite.entries_of(task)]
    pairs = [(title, suite.control) for title in titles if title != suite.control]
    pairs += [pair for pair in suite.pairs if set(pair) <= set(titles) and pair not in pairs]
    found = []
    for title, against in pairs:
        a, b = right.get(title, {}), right.get(against, {})
        seeds = sorted(seed for seed in a if a[seed] is not None and b.get(seed) is not None)
        if not seeds:
            continue
        difference = paired_bootstrap(
            [_known(a[seed])[0] for seed in seeds], [_known(b[seed])[0] for seed in seeds], _known(a[seeds[0]])[1]
        )
        measured = {name: round(value, 5) for name, value in asdict(difference).items()}
        about = {"task": task, "title": title, "against": against, "metric": "accuracy", "seeds": len(seeds)}
        found.append({**about, **measured})
    return found


def average_entries(suite: Suite, task: str, folders: Folders) -> list[dict[str, Any]]:
    """Average the logits on test of the suite's ensembles, seed by seed.

    Returns:
        By ensemble `task`, `title`, `members`, and `accuracy` in per cent, one a seed that all members have.
    """
    found = []
    for title, members in suite.ensembles.items():
        runs = [folders.get(member, {}) for member in members]
        kept = [{seed: _logits(folder) for seed, folder in run.items()} for run in runs]
        seeds = sorted(seed for seed in kept[0] if all(run.get(seed) is not None for run in kept))
        if seeds:
            accuracy = [_accuracy([run[seed] for run in kept]) for seed in seeds]
            found.append({"task": task, "title": title, "members": list(members), "accuracy": accuracy})
    return found


Answers = tuple[NDArray[np.float64], NDArray[np.int64]]


def _right(folder: Path) -> Answers | None:
    """Whether each answer on test that has a label is right, [N], and the numbers of their conversations, [N]."""
    kept = _logits(folder)
    if kept is None:
        return None
    known = kept["target"] >= 0
    right = (kept["logits"].argmax(-1) == kept["target"]).astype(np.float64)
    return right[known], kept["unit"][known]


def _logits(folder: Path) -> dict[str, NDArray[Any]] | None:
    """What a run said about classes on test; None where it kept nothing of it."""
    path = folder / PREDICTIONS
    if not path.is_file():
        return None
    with np.load(path) as kept:
        return dict(kept) if {"logits", "target"} <= set(kept.files) else None


def _accuracy(members: Sequence[dict[str, NDArray[Any]] | None]) -> float:
    """Of the mean of the members' logits, in per cent."""
    logits = np.mean([_known(member)["logits"] for member in members], axis=0)
    target = _known(members[0])["target"]
    return round(100 * float((logits.argmax(-1) == target)[target >= 0].mean()), 4)


def _known(answers: T | None) -> T:
    assert answers is not None
    return answers
