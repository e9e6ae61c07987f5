"""Exponential smoothing of a session's windows in event time."""

import math
from dataclasses import replace

from server.session.pieces import Fused


class Smoother:
    """Mean over the windows so far, in which a window weighs 1/e of what it did after every time constant.

    A window that ends `dt` after the last final one counts 1 - exp(-dt / time constant), whatever the interval is.
    Revisions start from the last final window, so that what is final depends on final windows alone.
    """

    def __init__(self, time_constant_ns: int) -> None:
        self._time_constant_ns = time_constant_ns
        self._last: tuple[int, Fused] | None = None

    def smooth(self, end_ns: int, is_final: bool, fused: Fused) -> Fused:
        """Return the smoothed scores of the window that ends at `end_ns`; contributions stay its own."""
        if not self._time_constant_ns:
            return fused
        if self._last is not None:
            last_ns, last = self._last
            weight = -math.expm1(-(end_ns - last_ns) / self._time_constant_ns)
            fused = replace(
                fused,
                polarity=last.polarity + weight * (fused.polarity - last.polarity),
                emotion=last.emotion + weight * (fused.emotion - last.emotion),
            )
        if is_final:
            self._last = end_ns, fused
        return fused
