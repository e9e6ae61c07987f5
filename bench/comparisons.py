"""Which entries of a suite differ beyond chance: paired bootstraps over conversations of what the runs said on test.

Reads the predictions that runs left behind (`Recipe.predictions`); knows nothing of how they came about.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.bootstrap import paired_bootstrap
from bench.suite import Suite
from training.engine.result import PREDICTIONS

Folders = Mapping[str, Mapping[int, Path]]
"""Title -> seed -> folder of the run."""
ACCURACY: Final = "accuracy"
SUBSETS: Final = "subset_accuracy"
"""Accuracy, averaged over the subsets of modalities that there are."""
LOST: Final = "lost_accuracy"
"""Accuracy on complete samples less that average: the points that are lost with the modalities."""


def compare_entries(suite: Suite, task: str, folders: Folders) -> list[dict[str, Any]]:
    """Compare every entry of the task with the control, and the suite's pairs, by accuracy on test; besides, by its
    mean over subsets of modalities, and by what is lost with them, where runs were asked about them.

    Returns:
        By comparison `task`, `title`, `against`, `metric`, `seeds` (how many both have, over which correctness is
        averaged), and the fields of `Difference`. Entries without predictions are left out.
    """
    answers = {title: {seed: _answers(folder) for seed, folder in runs.items()} for title, runs in folders.items()}
    titles = [entry.title for entry in suite.entries_of(task)]
    pairs = [(title, suite.control) for title in titles if title != suite.control]
    pairs += [pair for pair in suite.pairs if set(pair) <= set(titles) and pair not in pairs]
    found = []
    for metric in (ACCURACY, SUBSETS, LOST):
        for title, against in pairs:
            a, b = answers.get(title, {}), answers.get(against, {})
            seeds = [seed for seed in sorted(set(a) & set(b)) if metric in a[seed].right and metric in b[seed].right]
            if not seeds:
                continue
            this, that = ([side[seed].right[metric] for seed in seeds] for side in (a, b))
            difference = paired_bootstrap(this, that, a[seeds[0]].unit)
            measured = {name: round(value, 5) for name, value in asdict(difference).items()}
            about = {"task": task, "title": title, "against": against, "metric": metric, "seeds": len(seeds)}
            found.append({**about, **measured})
    return found


@dataclass(frozen=True)
class _Answers:
    """What a run said of the N samples of test that have a label."""

    right: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """By metric [N]: 1 where the answer is right; of `SUBSETS` the share of subsets on which it is; of `LOST` the
    difference. Without those that the run kept nothing of."""
    unit: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[N], numbers of conversations."""


def _answers(folder: Path) -> _Answers:
    path = folder / PREDICTIONS
    if not path.is_file():
        return _Answers()
    with np.load(path) as kept:
        if not {"logits", "target"} <= set(kept.files):
            return _Answers()
        target = kept["target"]
        right = {ACCURACY: (kept["logits"].argmax(-1) == target).astype(np.float64)}
        if "subset_logits" in kept.files:
            right[SUBSETS] = (kept["subset_logits"].argmax(-1) == target).mean(0)
            right[LOST] = right[ACCURACY] - right[SUBSETS]
        known = target >= 0
        return _Answers({metric: one[known] for metric, one in right.items()}, kept["unit"][known])
