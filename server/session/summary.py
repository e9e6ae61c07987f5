"""Scores of an utterance and of the session, from the final results of their windows."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.timing import HOP_NS
from server.session.pieces import Fused

_KEPT_WINDOWS = 1_200
"""Windows that an utterance's result can look back on: ten minutes."""


@dataclass
class _Mean:
    """Mean of fused scores, weighted by their confidence: a window that hesitates says little about the whole."""

    weight: float = 0.0
    total: NDArray[np.float64] | None = None

    def add(self, fused: Fused) -> None:
        row = np.concatenate([[fused.sentiment], fused.polarity, fused.emotion, fused.contribution]).astype(np.float64)
        weighted = row * fused.confidence
        self.total = weighted if self.total is None else self.total + weighted
        self.weight += fused.confidence

    def result(self, like: Fused) -> Fused:
        assert self.total is not None
        row = (self.total / self.weight).astype(np.float32)
        polarities, emotions = len(like.polarity), len(like.emotion)
        return Fused(
            float(row[0]),
            row[1 : 1 + polarities],
            row[1 + polarities : 1 + polarities + emotions],
            row[1 + polarities + emotions :],
        )


class Summary:
    """Collects final windows. A window without data adds nothing."""

    def __init__(self) -> None:
        self._session = _Mean()
        self._latest: Fused | None = None
        self._windows: deque[tuple[int, Fused]] = deque(maxlen=_KEPT_WINDOWS)

    def add(self, end_ns: int, fused: Fused) -> None:
        """Add the final scores of the window that ends at `end_ns`."""
        self._latest = fused
        self._session.add(fused)
        self._windows.append((end_ns, fused))

    def utterance(self, start_ns: int, end_ns: int) -> Fused | None:
        """Return the mean over the windows that end in the utterance or first after it; None without any."""
        mean = _Mean()
        inside = [fused for at_ns, fused in self._windows if start_ns < at_ns < end_ns + HOP_NS]
        for fused in inside:
            mean.add(fused)
        return mean.result(inside[-1]) if inside else None

    def session(self) -> Fused | None:
        """Return the mean over all windows; None without any."""
        return None if self._latest is None else self._session.result(self._latest)
