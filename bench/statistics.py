"""Whether one run answers better than another, or by chance: a paired bootstrap over whole conversations.

The utterances of a conversation stand or fall together, so conversations are what is drawn. What is asked is how the
difference would vary with other test conversations; seeds are averaged, not drawn. Knows arrays only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_CHUNK = 1000
"""Draws that are made at a time, which bounds memory."""


@dataclass(frozen=True)
class Difference:
    """A minus B, in points (per cent)."""

    mean: float
    """On the samples as they are."""
    low: float
    high: float
    """Ends of the 95 % interval: percentiles of the draws."""
    p: float
    """Two-sided: twice the share of draws on the other side of 0, or on it; each share with one draw more counted, so
    that it's never 0."""


def paired_bootstrap(
    correct_a: ArrayLike, correct_b: ArrayLike, units: ArrayLike, draws: int = 10_000, seed: int = 0
) -> Difference:
    """Compare two ways of answering the same N samples (Efron and Tibshirani 1993, chapters 13 and 15).

        U of the U units are drawn with replacement; difference = 100 sum_u d_u / sum_u n_u

    with d_u the sum of a - b over the samples of unit u, n_u their number, each as often as u is drawn.

    Args:
        correct_a, correct_b: [N], or [seeds, N], which are averaged over their seeds; 1 where an answer is correct, 0
            where not, or anything else of which the mean counts.
        units: [N], number of each sample's unit; `arange(N)` where samples are for themselves.
        draws: of the bootstrap.
        seed: of the same.

    Raises:
        ValueError: not the same samples, or no samples; says which shapes there are.
    """
    a, b = (np.atleast_2d(np.asarray(side, dtype=np.float64)).mean(axis=0) for side in (correct_a, correct_b))
    _, place = np.unique(np.asarray(units), return_inverse=True)
    if not len(a) == len(b) == len(place) > 0:
        raise ValueError(f"a paired bootstrap needs the same samples: {len(a)}, {len(b)}, and units of {len(place)}")
    sums = np.bincount(place, weights=a - b).astype(np.float64)
    sizes = np.bincount(place).astype(np.float64)
    drawn = 100 * _resampled(sums, sizes, draws, np.random.default_rng(seed))
    drawn[np.abs(drawn) < 1e-9] = 0.0  # A tie, but for the rounding of averages over seeds.
    low, high = np.percentile(drawn, [2.5, 97.5])
    beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = min(1.0, 2 * float(beyond + 1) / (draws + 1))
    return Difference(100 * float(sums.sum() / sizes.sum()), float(low), float(high), p)


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Return which of m hypotheses are rejected so that one is rejected wrongly with at most the probability `level`.

        in the order of their p: reject the k-th (k = 1 ... m) while p_k <= level / (m - k + 1), and none after it

    (Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scandinavian Journal of Statistics 1979.)
    """
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[place] > level / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected


def _resampled(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The mean difference of every draw, [draws]."""
    count = len(sums)
    even = np.full(count, 1 / count)
    means = []
    for start in range(0, draws, _CHUNK):
        times = rng.multinomial(count, even, size=min(_CHUNK, draws - start))
        means.append(times @ sums / (times @ sizes))
    return np.concatenate(means)


def paired_seeds(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Compare two entries by what their runs of the same seeds scored, [seeds] each, by a paired t-test.

    The interval is about other seeds, not about other samples; without two seeds that differ it's unknown, and p is 1.
    """
    gains = np.subtract(a, b)
    if len(gains) < 2 or not gains.std() > 0:
        return Difference(float(gains.mean()), float("-inf"), float("inf"), 1.0)
    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    return Difference(float(gains.mean()), float(low), float(high), float(test.pvalue))
