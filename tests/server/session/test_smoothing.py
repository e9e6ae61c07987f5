import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.timing import HOP_NS, NS_PER_S
from server.session.pieces import Fused
from server.session.smoothing import Smoothing


def fused(*polarity: float) -> Fused:
    return Fused(np.array(polarity, np.float32), np.full(7, 1 / 7, np.float32), np.array([1, 0, 0], np.float32))


def labels(smoothing: Smoothing, *polarities: tuple[float, float, float]) -> list[int]:
    shown = [smoothing.apply((at + 1) * HOP_NS, True, fused(*one)) for at, one in enumerate(polarities)]
    return [int(one.polarity.argmax()) for one in shown]


NEGATIVE, POSITIVE = (0.45, 0.15, 0.40), (0.40, 0.15, 0.45)


def test_labels_that_come_and_go_do_not_flap():
    assert labels(Smoothing(2 * NS_PER_S), *([NEGATIVE, POSITIVE] * 20)) == [0] * 40
    assert labels(Smoothing(0), *([NEGATIVE, POSITIVE] * 20)) == [0, 2] * 20


def test_a_clear_change_is_not_delayed_and_a_slight_one_must_last():
    assert labels(Smoothing(2 * NS_PER_S), NEGATIVE, (0.05, 0.05, 0.9)) == [0, 2]
    slight = labels(Smoothing(2 * NS_PER_S), NEGATIVE, *([(0.3, 0.2, 0.5)] * 5))
    assert slight == [0, 0, 0, 0, 2, 2], "a lead of 0.2 for two seconds"


def test_an_interim_result_is_not_remembered():
    smoothing = Smoothing(2 * NS_PER_S)
    smoothing.apply(HOP_NS, True, fused(*NEGATIVE))
    for _ in range(20):
        assert smoothing.apply(2 * HOP_NS, False, fused(0.3, 0.2, 0.5)).polarity.argmax() == 0


distributions = st.lists(st.floats(0.01, 1), min_size=7, max_size=7).map(lambda row: np.array(row) / sum(row))


@given(held=st.integers(0, 6), emotion=distributions)
def test_what_is_shown_is_a_distribution_near_to_what_was_said(held, emotion):
    smoothing = Smoothing(10 * NS_PER_S)
    first = np.full(7, 0.1, np.float32)
    first[held] = 0.4
    for number, one in enumerate((first, emotion), start=1):
        said = Fused(np.ones(3, np.float32) / 3, one.astype(np.float32), np.zeros(3, np.float32))
        shown = smoothing.apply(number * HOP_NS, True, said).emotion
    assert shown.argmax() == held
    assert shown.sum() == pytest.approx(1, abs=1e-5)
    assert shown.min() >= 0
    others = np.delete(shown, held) - np.delete(emotion, held)
    assert others.max() < 1e-5, "nobody else gains"


@given(rows=st.lists(distributions, min_size=2, max_size=30), smoothing_s=st.floats(0, 10))
def test_labels_change_no_more_often_than_without(rows, smoothing_s):
    def changes(seconds: float) -> int:
        smoothing = Smoothing(round(seconds * NS_PER_S))
        emotions = [Fused(np.ones(3, np.float32) / 3, row.astype(np.float32), np.zeros(3, np.float32)) for row in rows]
        shown = [smoothing.apply((at + 1) * HOP_NS, True, one).emotion.argmax() for at, one in enumerate(emotions)]
        return int(np.count_nonzero(np.diff(shown)))

    assert changes(smoothing_s) <= changes(0)
