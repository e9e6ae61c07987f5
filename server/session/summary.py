"""Scores of the whole session, from the final results of its windows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.labels import EMOTIONS, MODALITIES, POLARITIES
from server.session.fusion_input import ModalityView
from server.session.messages import Modality
from server.session.pieces import Fused, Status, WindowPlan

_WORSE = (Status.DROPPED, Status.LATE, Status.MISSING)
"""What is said of a modality that no window used, the first that was said of any window."""


@dataclass(frozen=True)
class SessionScores:
    """Scores of a session and what became of its modalities."""

    fused: Fused
    views: dict[Modality, ModalityView]


class Summary:
    """Mean over the final windows in which there is a voice, a face or a word.

    Each counts by its confidence: a window that hesitates says little about the whole.
    """

    def __init__(self) -> None:
        self._weight = 0.0
        self._total = np.zeros(len(POLARITIES) + len(EMOTIONS) + len(MODALITIES))
        self._windows = 0
        self._coverage = dict.fromkeys(Modality, 0.0)
        self._statuses: dict[Modality, set[Status]] = {modality: set() for modality in Modality}

    def add(self, plan: WindowPlan, fused: Fused | None, views: Mapping[Modality, ModalityView]) -> None:
        """Add the final result of a window; one without scores, or without life, adds nothing."""
        if fused is None or not plan.has_life:
            return
        row = np.concatenate([fused.polarity, fused.emotion, fused.contribution])
        self._total += row * fused.confidence
        self._weight += fused.confidence
        self._windows += 1
        for modality, view in views.items():
            self._coverage[modality] += view.coverage
            self._statuses[modality].add(view.status)

    def result(self) -> SessionScores | None:
        """Return the scores of the session; None when no window counted."""
        if not self._windows:
            return None
        mean: NDArray[np.float32] = (self._total / self._weight).astype(np.float32)
        polarity, emotion, contribution = np.split(mean, np.cumsum([len(POLARITIES), len(EMOTIONS)]))
        views = {one: ModalityView(self._status(one), self._coverage[one] / self._windows) for one in Modality}
        return SessionScores(Fused(polarity, emotion, contribution), views)

    def _status(self, modality: Modality) -> Status:
        said = self._statuses[modality]
        if Status.USED in said:
            return Status.USED
        return next((status for status in _WORSE if status in said), Status.MISSING)
