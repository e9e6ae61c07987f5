"""How right predictions are, and how sure: accuracy, macro F1, calibration error, the temperature that calibrates."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor

_BINS: Final = 15


@dataclass(frozen=True)
class Scores:
    """Classification metrics, in per cent except `ece`."""

    accuracy: float
    macro_f1: float
    ece: float

    def rounded(self) -> dict[str, float]:
        """For a report."""
        return {"accuracy": round(self.accuracy, 2), "macro_f1": round(self.macro_f1, 2), "ece": round(self.ece, 4)}


def classification_scores(logits: Tensor, target: Tensor) -> Scores:
    """Return the scores of logits [N, C] (of log probabilities as well) against class indices [N]."""
    probabilities = torch.softmax(logits, dim=-1).numpy()
    truth, predicted = target.numpy(), probabilities.argmax(axis=-1)
    return Scores(
        100 * float(accuracy_score(truth, predicted)),
        100 * float(f1_score(truth, predicted, average="macro", zero_division=0)),
        expected_calibration_error(probabilities, truth),
    )


def expected_calibration_error(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Return ECE over 15 equal bins of confidence (Guo et al. 2017), of probabilities [N, C] and classes [N]."""
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == truth
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    error = 0.0
    for b in range(_BINS):
        chosen = bins == b
        if chosen.any():
            error += chosen.mean() * abs(float(confidence[chosen].mean()) - float(correct[chosen].mean()))
    return float(error)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """Return the temperature with the least cross entropy on validation logits [N, C]; targets of -1 are left out."""
    known = target >= 0
    logits, target = logits[known], target[known]
    candidates = torch.logspace(-0.7, 0.7, 141).tolist()
    losses = [float(torch.nn.functional.cross_entropy(logits / t, target)) for t in candidates]
    return float(candidates[int(np.argmin(losses))])
