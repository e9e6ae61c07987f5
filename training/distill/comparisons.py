"""Which entries of a suite differ beyond chance: paired bootstraps over conversations of what the runs said on test.

Reads the predictions that runs left behind (`Recipe.predictions`); knows nothing of how they came about.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.distill.bootstrap import paired_bootstrap
from training.distill.result import PREDICTIONS
from training.distill.suite import Suite

Folders = Mapping[str, Mapping[int, Path]]
"""Title -> seed -> folder of the run."""


def compare_entries(suite: Suite, task: str, folders: Folders) -> list[dict[str, Any]]:
    """Compare every entry of the task with the control, and the suite's pairs, by accuracy on test.

    Returns:
        By comparison `task`, `title`, `against`, `metric`, `seeds` (how many both have, over which correctness is
        averaged), and the fields of `Difference`. Entries without predictions are left out.
    """
    right = {
        title: {seed: answers for seed, folder in runs.items() if (answers := _right(folder)) is not None}
        for title, runs in folders.items()
    }
    titles = [entry.title for entry in suite.entries_of(task)]
    pairs = [(title, suite.control) for title in titles if title != suite.control]
    pairs += [pair for pair in suite.pairs if set(pair) <= set(titles) and pair not in pairs]
    found = []
    for title, against in pairs:
        a, b = right.get(title, {}), right.get(against, {})
        seeds = sorted(set(a) & set(b))
        if not seeds:
            continue
        difference = paired_bootstrap([a[seed][0] for seed in seeds], [b[seed][0] for seed in seeds], a[seeds[0]][1])
        measured = {name: round(value, 5) for name, value in asdict(difference).items()}
        about = {"task": task, "title": title, "against": against, "metric": "accuracy", "seeds": len(seeds)}
        found.append({**about, **measured})
    return found


Answers = tuple[NDArray[np.float64], NDArray[np.int64]]


def _right(folder: Path) -> Answers | None:
    """Whether each answer on test that has a label is right, [N], and the numbers of their conversations, [N].

    None where the run kept nothing of it.
    """
    path = folder / PREDICTIONS
    if not path.is_file():
        return None
    with np.load(path) as kept:
        if not {"logits", "target"} <= set(kept.files):
            return None
        known = kept["target"] >= 0
        right = (kept["logits"].argmax(-1) == kept["target"]).astype(np.float64)
        return right[known], kept["unit"][known]
