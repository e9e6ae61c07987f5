"""Where in a session somebody speaks, and the pauses that end utterances.

Either a voice-activity detector says so, or, where none runs, a sound that is louder than silence counts as a voice.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter

import numpy as np

from contract.timing import AUDIO_SLOT_SAMPLES, AUDIO_SLOTS_PER_HOP, CONTEXT_SAMPLES, samples_to_ns
from server.session.pieces import AudioHop

SILENCE_DBFS = -50.0
"""Root mean square of 100 ms below which nothing is heard: speech lies at -40 to -15, a quiet room below -55."""
SPOKEN_NS = 200_000_000
"""A shorter voice (a click, a breath) is no utterance."""
_KEPT = 4_096

Interval = tuple[int, int]


def loud_intervals(hop: AudioHop) -> Iterator[Interval]:
    """Yield the slots of a hop that are no silence."""
    slots = hop.pcm[CONTEXT_SAMPLES:].reshape(AUDIO_SLOTS_PER_HOP, AUDIO_SLOT_SAMPLES)
    power = np.mean(np.square(slots, dtype=np.float64), axis=1)
    for number in np.flatnonzero(power >= 10 ** (SILENCE_DBFS / 10)):
        first = (hop.index * AUDIO_SLOTS_PER_HOP + int(number)) * AUDIO_SLOT_SAMPLES
        yield samples_to_ns(first), samples_to_ns(first + AUDIO_SLOT_SAMPLES)


class Voice:
    """Intervals of voice, in order, and the pauses between them."""

    def __init__(self, pause_ns: int | None) -> None:
        """Find pauses of `pause_ns`; None for none."""
        self.is_detected = False
        """A detector says where the voice is, not loudness alone."""
        self._pause_ns = pause_ns
        self._intervals: list[Interval] = []
        self._spoken_ns = 0
        """Voice since the last pause."""
        self._spoken_from_ns = 0

    def take(self, intervals: Iterable[Interval], decided_ns: int) -> list[int]:
        """Take in the voice up to `decided_ns` and return where the pauses begin that end an utterance."""
        ends: list[int] = []
        for start_ns, end_ns in intervals:
            ends += self._pause(start_ns)
            if not self._spoken_ns:
                self._spoken_from_ns = start_ns
            self._spoken_ns += end_ns - start_ns
            if self._intervals and start_ns <= self._intervals[-1][1]:
                start_ns = self._intervals.pop()[0]
            self._intervals.append((start_ns, end_ns))
            if len(self._intervals) > _KEPT:
                (first_ns, _), (_, last_ns) = self._intervals[:2]
                self._intervals[:2] = [(first_ns, last_ns)]
        return ends + self._pause(decided_ns)

    def total_ns(self, start_ns: int, end_ns: int) -> int:
        """Return how much voice there is in a stretch."""
        return sum(min(end_ns, last) - max(start_ns, first) for first, last in self._within(start_ns, end_ns))

    def first_ns(self, start_ns: int, end_ns: int) -> int | None:
        """Return where the first voice of a stretch begins; None without any."""
        return next((max(start_ns, first) for first, _ in self._within(start_ns, end_ns)), None)

    def _within(self, start_ns: int, end_ns: int) -> list[Interval]:
        first = bisect_right(self._intervals, start_ns, key=itemgetter(1))
        return self._intervals[first : bisect_left(self._intervals, end_ns, key=itemgetter(0))]

    def forget_before(self, time_ns: int) -> None:
        """Forget the voice that ended before a time."""
        self._intervals = [interval for interval in self._intervals if interval[1] >= time_ns]

    def _pause(self, silent_until_ns: int) -> list[int]:
        """Return the last voice's end where silence since then is long enough and what was said as well."""
        if self._pause_ns is None or not self._spoken_ns or not self._intervals:
            return []
        last_ns = self._intervals[-1][1]
        if silent_until_ns - last_ns < self._pause_ns:
            return []
        spoken_ns, self._spoken_ns = self._spoken_ns, 0
        if spoken_ns >= SPOKEN_NS:
            return [last_ns]
        self._intervals = [interval for interval in self._intervals if interval[1] <= self._spoken_from_ns]
        return []
