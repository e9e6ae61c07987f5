"""A linear teacher over a frozen source of features: emotions by logistic regression, sentiment by ridge regression.

Out of fold on the training samples. It takes samples with either label, or none.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from training.data.folder import Split
from training.distillation.outputs import Output

FOLDS: Final = 4
_C: Final = 0.3
_ALPHA: Final = 30.0
_FLOOR: Final = 1e-6
Vectors = NDArray[np.float64]


def linear_outputs(
    vectors: Mapping[Split, Tensor], target: Tensor, score: Tensor, classes: int, seed: int = 0
) -> dict[Split, Output]:
    """Fit on `train` and return logits [N, C], score [N] and the standardised vectors as "penultimate" of every split.

    Args:
        vectors: [N, F] of every split.
        target: int64 [N] of the training samples, -1 without a label.
        score: [N] of the training samples, NaN without one.
        classes: C; of a class that no sample has, the probability is next to 0.
        seed: of the folds.
    """
    mean, deviation = vectors["train"].mean(0), vectors["train"].std(0) + 1e-5
    scaled = {split: ((part - mean) / deviation).clamp(-8, 8) for split, part in vectors.items()}
    x, y, s = scaled["train"].double().numpy(), target.numpy(), score.double().numpy()
    fold = np.random.default_rng(seed).integers(0, FOLDS, len(x))
    own: list[NDArray[np.float64]] = [np.zeros((len(x), classes)), np.zeros(len(x))]
    for number in range(FOLDS):
        unseen = fold == number
        parts = _fit_and_say(x[~unseen], y[~unseen], s[~unseen], [x[unseen]], classes)
        own[0][unseen], own[1][unseen] = parts[0]
    others: tuple[Split, ...] = ("valid", "test")
    answers = _fit_and_say(x, y, s, [scaled[split].double().numpy() for split in others], classes)
    said = dict(zip(("train", *others), [(own[0], own[1]), *answers], strict=True))
    return {
        split: Output(
            torch.from_numpy(np.log(said[split][0] + _FLOOR)).float(),
            torch.from_numpy(said[split][1]).float(),
            features={"penultimate": scaled[split].float()},
        )
        for split in scaled
    }


def _fit_and_say(
    x: Vectors, target: NDArray[np.int64], score: Vectors, asked: list[Vectors], classes: int
) -> list[tuple[Vectors, Vectors]]:
    """Return probabilities [M, C] and scores [M] for each of `asked` [M, F]."""
    labelled, rated = target >= 0, ~np.isnan(score)
    emotions = LogisticRegression(C=_C, max_iter=200).fit(x[labelled], target[labelled])
    degrees = Ridge(alpha=_ALPHA).fit(x[rated], score[rated])
    said = []
    for part in asked:
        probabilities = np.zeros((len(part), classes))
        probabilities[:, emotions.classes_] = emotions.predict_proba(part)
        said.append((probabilities, degrees.predict(part).clip(-1, 1)))
    return said
