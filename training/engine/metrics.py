"""What is measured of a student's or teacher's outputs on a split. Knows neither models nor files.

Shares are in per cent, as in the literature; calibration error, absolute error and correlation are not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from training.data.calibration import expected_calibration_error
from training.data.task import Samples
from training.distillation.outputs import Output

Measures = dict[str, Any]
LOWER_IS_BETTER = frozenset({"mae", "ece"})
GROUP_NAMES = ("gender",)
"""Groups that metrics are told apart by; a speaker alone has too few samples."""


def measure(output: Output, samples: Samples, labels: Sequence[str]) -> Measures:
    """Return the metrics of outputs for all N samples.

    Where both sides have classes: `accuracy`, `macro_f1`, `weighted_f1`, `ece`, `confusion` (rows are the truth), and
    `accuracy_by_gender` where it is known. Where both have scores: see `score_measures`.

    Raises:
        ValueError: the outputs meet no label.
    """
    measures: Measures = {}
    if output.logits is not None and samples.target is not None:
        probabilities = torch.softmax(output.logits.float(), dim=-1).numpy()
        measures |= class_measures(probabilities, samples.target.numpy(), len(labels))
        for group in GROUP_NAMES:
            if group in samples.groups:
                correct = probabilities.argmax(-1) == samples.target.numpy()
                measures[f"accuracy_by_{group}"] = _by_group(correct, samples.groups[group].numpy())
    if output.score is not None and samples.score is not None:
        known = ~samples.score.isnan()
        if known.any():
            measures |= score_measures(output.score[known].double().numpy(), samples.score[known].double().numpy())
    if not measures:
        raise ValueError("the outputs meet no label: logits need a target, a score needs a score")
    return measures


def class_measures(probabilities: NDArray[np.float32], truth: NDArray[np.int64], classes: int) -> Measures:
    """Return accuracy, macro F1, weighted F1, ECE and the confusion matrix of probabilities [N, C]; -1 has no label."""
    probabilities, truth = probabilities[truth >= 0], truth[truth >= 0]
    predicted = probabilities.argmax(-1)
    return {
        "accuracy": 100 * float(accuracy_score(truth, predicted)),
        "macro_f1": 100 * float(f1_score(truth, predicted, average="macro", zero_division=0)),
        "weighted_f1": 100 * float(f1_score(truth, predicted, average="weighted", zero_division=0)),
        "ece": expected_calibration_error(probabilities, truth),
        "confusion": confusion_matrix(truth, predicted, labels=range(classes)).tolist(),
    }


def score_measures(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> Measures:
    """Return the metrics of continuous sentiment in [-1, 1], both [N].

    `acc2_has0` counts truths of 0 as positive, `acc2_non0` leaves them out: papers mix the two. `acc7` rounds 3 x score
    to -3 ... 3, as on MOSI. `mae` is in units of the score; `pearson` is 0 where either side is constant.
    """
    nonzero = truth != 0
    constant = np.ptp(predicted) == 0 or np.ptp(truth) == 0
    return {
        "acc2_has0": 100 * float(np.mean((predicted >= 0) == (truth >= 0))),
        "acc2_non0": 100 * float(np.mean((predicted > 0)[nonzero] == (truth > 0)[nonzero])) if nonzero.any() else 0.0,
        "acc7": 100 * float(np.mean(np.rint(3 * predicted).clip(-3, 3) == np.rint(3 * truth).clip(-3, 3))),
        "mae": float(np.abs(predicted - truth).mean()),
        "pearson": 0.0 if constant else float(np.corrcoef(predicted, truth)[0, 1]),
    }


def better(metric: str, a: float, b: float) -> bool:
    """Whether value `a` of the metric is better than `b`."""
    return a < b if metric in LOWER_IS_BETTER else a > b


def over_subsets(metric: str) -> str:
    """Return the name of the metric's mean over the subsets of modalities."""
    return f"subset_{metric}"


def chosen_by(metric: str, valid: Measures) -> float:
    """Return what a student is chosen by, of what is measured of it on validation: the metric, or its mean over the
    subsets of modalities where that was measured."""
    mean = over_subsets(metric)
    return float(valid[mean if mean in valid else metric])


def _by_group(correct: NDArray[np.bool_], group: NDArray[np.int64]) -> dict[str, float]:
    return {str(member): 100 * float(correct[group == member].mean()) for member in np.unique(group)}
