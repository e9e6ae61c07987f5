from dataclasses import replace

import numpy as np
import pytest

from contract.labels import sentiment_of
from contract.timing import HOP_NS
from server.session.fusion_input import ModalityView
from server.session.messages import Modality
from server.session.pieces import Fused, Status, WindowPlan
from server.session.summary import Summary

PLAN = WindowPlan(
    index=0, revision=0, is_final=True, start_ns=0, end_ns=HOP_NS, hops=(), faces=(), words=None, statuses={}
)


def fused(positive: float, negative: float) -> Fused:
    polarity = np.array([negative, 1 - positive - negative, positive], np.float32)
    return Fused(polarity, np.full(7, 1 / 7, np.float32), np.array([1, 0, 0], np.float32))


def views(status: Status, coverage: float) -> dict[Modality, ModalityView]:
    return {modality: ModalityView(status, coverage) for modality in Modality}


def test_windows_count_by_their_confidence():
    summary = Summary()
    summary.add(PLAN, fused(0.9, 0.1), views(Status.MISSING, 0.0))
    summary.add(PLAN, fused(0.4, 0.6), views(Status.USED, 1.0))
    result = summary.result()
    assert result is not None
    assert result.fused.sentiment == pytest.approx(sentiment_of(result.fused.polarity))
    assert result.fused.polarity.tolist() == pytest.approx([0.3, 0, 0.7])
    assert result.fused.contribution.tolist() == pytest.approx([1, 0, 0])
    assert result.views[Modality.AUDIO].coverage == 0.5
    assert result.views[Modality.AUDIO].status == Status.USED


def test_windows_without_voice_face_and_words_do_not_count():
    summary = Summary()
    summary.add(replace(PLAN, has_life=False), fused(0.9, 0.1), views(Status.USED, 1.0))
    assert summary.result() is None
    summary.add(PLAN, fused(0.1, 0.9), views(Status.MISSING, 0.0))
    result = summary.result()
    assert result is not None
    assert result.fused.sentiment == pytest.approx(sentiment_of([0.9, 0, 0.1]))
    assert result.views[Modality.VIDEO].status == Status.MISSING
