"""Learning rate, evaluations and patience, against closed forms."""

import math

import pytest

from training.engine.schedule import EarlyStopping, cosine, evaluation_steps


def test_cosine_with_warmup() -> None:
    factor = cosine(total_steps=100, warmup=0.1)
    assert [factor(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    for step in range(10, 100):
        assert factor(step) == pytest.approx(0.5 * (1 + math.cos(math.pi * (step - 10) / 90)))
    assert factor(100) == pytest.approx(0)
    assert factor(1000) == pytest.approx(0)


def test_cosine_without_warmup_starts_at_one() -> None:
    assert cosine(10, 0.0)(0) == 1.0


def test_evaluations_are_even_and_end_at_the_end() -> None:
    assert evaluation_steps(100, 4) == {25, 50, 75, 100}
    assert evaluation_steps(3, 20) == {1, 2, 3}
    assert max(evaluation_steps(97, 10)) == 97
    assert len(evaluation_steps(97, 10)) == 10


def test_patience() -> None:
    stopping = EarlyStopping(patience=2)
    assert [stopping.update(value, step) for step, value in enumerate([0.5, 0.7, 0.7, 0.6])] == [
        True,
        True,
        False,
        False,
    ]
    assert stopping.exhausted
    assert (stopping.best, stopping.best_step) == (0.7, 1)


def test_without_patience_it_never_stops() -> None:
    stopping = EarlyStopping()
    for step in range(100):
        stopping.update(-step, step)
    assert not stopping.exhausted


def test_lower_is_better() -> None:
    stopping = EarlyStopping(lower_is_better=True)
    assert [stopping.update(value, 0) for value in (0.5, 0.6, 0.4)] == [True, False, True]


def test_nan_is_divergence() -> None:
    with pytest.raises(FloatingPointError, match=r"budget\.learning_rate"):
        EarlyStopping().update(float("nan"), 3)
