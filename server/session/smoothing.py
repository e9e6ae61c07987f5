"""Keeps the label of a window from flapping between two that are nearly as probable, without delaying a real change.

Page's cumulative sum (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954) for each label: the lead over
the label that is held adds up while it lasts, and lags take it away. A clear lead takes over at once, a slight one
when it has lasted; leads that come and go never do.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.timing import NS_PER_S
from server.session.pieces import Fused

LEAD: Final = 0.2
"""The lead in probability that takes over after the time of smoothing; twice the lead needs half of the time."""
_AHEAD: Final = 1e-4
"""By how much the label that is held is shown ahead of those that it ties with."""

Probabilities = NDArray[np.float32]


class _HeldLabel:
    """The label of one distribution, and the leads that others have gathered."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._held: int | None = None
        self._leads = np.zeros(0)

    def show(self, probabilities: Probabilities, seconds: float, keep: bool) -> Probabilities:
        """Return the distribution with the held label foremost, given how long it counts; `keep` what it has added."""
        held, leads = self._next(probabilities, seconds)
        if keep:
            self._held, self._leads = held, leads
        return _foremost(probabilities, held)

    def _next(self, probabilities: Probabilities, seconds: float) -> tuple[int, NDArray[np.float64]]:
        top = int(probabilities.argmax())
        nothing = np.zeros(len(probabilities))
        if self._held is None:
            return top, nothing
        leads = np.maximum(0.0, self._leads + (probabilities - probabilities[self._held]) * seconds)
        return (top, nothing) if leads[top] >= self._threshold else (self._held, leads)


class Smoothing:
    """Holds the polarity and the emotion of one session's windows. The sentiment follows from the polarity."""

    def __init__(self, smoothing_ns: int) -> None:
        """Hold labels against a lead of `LEAD` for `smoothing_ns`; 0 for none."""
        threshold = LEAD * smoothing_ns / NS_PER_S - 1e-6
        self._polarity, self._emotion = _HeldLabel(threshold), _HeldLabel(threshold)
        self._last_ns = 0

    def apply(self, end_ns: int, is_final: bool, fused: Fused) -> Fused:
        """Return the scores of the window that ends at `end_ns` as they are shown.

        A window counts for the time since the last final one. Final windows alone are remembered, in their order.
        """
        seconds = (end_ns - self._last_ns) / NS_PER_S
        if is_final:
            self._last_ns = end_ns
        return replace(
            fused,
            polarity=self._polarity.show(fused.polarity, seconds, is_final),
            emotion=self._emotion.show(fused.emotion, seconds, is_final),
        )


def _foremost(probabilities: Probabilities, label: int) -> Probabilities:
    """Return the nearest distribution in which no label is ahead of `label`: those that are give it of their own."""
    if probabilities.argmax() == label:
        return probabilities
    ahead = np.flatnonzero(probabilities >= probabilities[label])
    level = float(probabilities[label])
    others = ahead[ahead != label]
    for count, other in enumerate(others[np.argsort(-probabilities[others])], start=1):
        if probabilities[other] < level:
            break
        level += (float(probabilities[other]) - level) / (count + 1)
    shown = np.minimum(probabilities, level - _AHEAD)
    shown[label] += 1.0 - shown.sum(dtype=np.float64)
    return shown
