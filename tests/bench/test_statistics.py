"""The bootstrap against loops over draws, and where the answer is known."""

import math

import numpy as np
import pytest

from bench.statistics import holm, paired_bootstrap, paired_seeds

RNG = np.random.default_rng(0)


def test_against_a_loop_over_draws_and_units() -> None:
    units = np.array([4, 4, 4, 1, 1, 9, 9, 9, 9, 2, 7, 7])
    a, b = RNG.integers(0, 2, (3, 12)), RNG.integers(0, 2, (2, 12))
    found = paired_bootstrap(a, b, units, draws=500, seed=3)
    numbers = sorted(set(units.tolist()))
    rng = np.random.default_rng(3)
    differences = []
    for _ in range(500):
        times = rng.multinomial(len(numbers), [1 / len(numbers)] * len(numbers))
        rows = [
            row
            for number, count in zip(numbers, times, strict=True)
            for row in np.flatnonzero(units == number).tolist() * int(count)
        ]
        side_a = np.mean([run[row] for run in a for row in rows])
        side_b = np.mean([run[row] for run in b for row in rows])
        differences.append(100 * (side_a - side_b))
    ordered = np.array(differences)
    assert found.mean == pytest.approx(100 * (a.mean() - b.mean()))
    assert found.low == pytest.approx(np.percentile(ordered, 2.5))
    assert found.high == pytest.approx(np.percentile(ordered, 97.5))
    sides = (np.sum(ordered <= 1e-9) + 1) / 501, (np.sum(ordered >= -1e-9) + 1) / 501
    assert found.p == pytest.approx(min(1, 2 * min(sides)), abs=2 / 501)


def test_without_units_the_interval_is_that_of_the_central_limit() -> None:
    a, b = RNG.random(4000) < 0.8, RNG.random(4000) < 0.78
    found = paired_bootstrap(a, b, np.arange(4000))
    difference = 100 * (a.astype(float) - b.astype(float))
    half = 1.96 * difference.std() / math.sqrt(4000)
    assert found.low == pytest.approx(difference.mean() - half, abs=0.06)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.06)
    z = abs(difference.mean()) / (difference.std() / math.sqrt(4000))
    assert found.p == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.02)


def test_conversations_that_stand_and_fall_together_are_less_evidence() -> None:
    together = np.repeat(RNG.integers(0, 2, 60), 20)
    other = np.repeat(RNG.integers(0, 2, 60), 20)
    units = np.repeat(np.arange(60), 20)
    alone = paired_bootstrap(together, other, np.arange(1200))
    whole = paired_bootstrap(together, other, units)
    assert whole.high - whole.low == pytest.approx(math.sqrt(20) * (alone.high - alone.low), rel=0.1)
    assert whole.p > alone.p


def test_known_answers() -> None:
    right, wrong = np.ones(40), np.zeros(40)
    units = np.repeat(np.arange(8), 5)
    same = paired_bootstrap(right, right, units)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    better = paired_bootstrap(right, wrong, units, draws=999)
    assert (better.mean, better.low, better.high) == (100, 100, 100)
    assert better.p == pytest.approx(2 / 1000)
    assert paired_bootstrap(wrong, right, units, draws=999).mean == -100


def test_two_units_by_enumeration() -> None:
    """One unit of 1 sample won, one of 3 lost: the four draws give 100, twice -50, -100."""
    found = paired_bootstrap([1, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], draws=20_000)
    assert found.mean == -50
    assert (found.low, found.high) == (-100, 100)
    assert found.p == pytest.approx(2 * 0.25, abs=0.02)


def test_sides_change_places() -> None:
    a, b, units = RNG.integers(0, 2, (2, 90)), RNG.integers(0, 2, (5, 90)), np.arange(90) // 6
    one, other = paired_bootstrap(a, b, units), paired_bootstrap(b, a, units)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))
    assert one.p == other.p


def test_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="needs the same samples: 3, 4, and units of 3"):
        paired_bootstrap(np.ones(3), np.ones((2, 4)), np.arange(3))
    with pytest.raises(ValueError, match="needs the same samples: 0, 0, and units of 0"):
        paired_bootstrap([], [], [])


def test_holm_against_adjusted_p_values() -> None:
    """Adjusted: the running maximum of (m - k + 1) p_k, in the order of p; rejected where that is at most the level."""
    for _ in range(50):
        p = RNG.uniform(0, 0.1, RNG.integers(1, 8)) ** 2
        order = np.argsort(p)
        adjusted = np.empty_like(p)
        adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
        assert holm(p.tolist(), 0.01) == (adjusted <= 0.01).tolist()
    assert holm([0.04, 0.001, 0.03], 0.05) == [False, True, False]
    assert holm([]) == []


def test_seeds_against_the_definition_of_the_t_test() -> None:
    a, b = RNG.uniform(50, 60, 6), RNG.uniform(50, 60, 6)
    found = paired_seeds(a.tolist(), b.tolist())
    gains = a - b
    half = 2.5706 * gains.std(ddof=1) / math.sqrt(6)  # t of 5 degrees of freedom.
    assert (found.mean, found.low, found.high) == pytest.approx(
        (gains.mean(), gains.mean() - half, gains.mean() + half), abs=1e-3
    )
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    assert paired_seeds([1.0], [0.0]).p == 1
