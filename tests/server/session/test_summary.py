import numpy as np
import pytest

from contract.timing import HOP_NS
from server.session.pieces import Fused
from server.session.summary import Summary


def fused(sentiment: float, confidence: float) -> Fused:
    polarity = np.array([1 - confidence, 0, confidence], np.float32)
    return Fused(sentiment, polarity, np.full(7, 1 / 7, np.float32), np.array([1, 0, 0], np.float32))


def test_windows_count_by_their_confidence():
    summary = Summary()
    summary.add(1 * HOP_NS, fused(1.0, 0.9))
    summary.add(2 * HOP_NS, fused(-1.0, 0.6))
    result = summary.session()
    assert result is not None
    assert result.sentiment == pytest.approx((0.9 - 0.6) / 1.5)
    assert result.polarity.sum() == pytest.approx(1)
    assert result.emotion.sum() == pytest.approx(1)
    assert result.contribution.tolist() == pytest.approx([1, 0, 0])


def test_an_utterance_has_the_windows_that_end_in_it_and_the_first_after_it():
    summary = Summary()
    for number in range(1, 7):
        summary.add(number * HOP_NS, fused(number / 10, 0.8))
    result = summary.utterance(2 * HOP_NS, 4 * HOP_NS - 1)
    assert result is not None
    assert result.sentiment == pytest.approx((0.3 + 0.4) / 2)


def test_nothing_gives_nothing():
    assert Summary().session() is None
    assert Summary().utterance(0, HOP_NS) is None
