"""Which words have been heard by the end of a window, for those who read along."""

from typing import Final

from moodstream.v1.media_pb2 import TextSpan
from moodstream.v1.session_pb2 import EndOfUtterance

from client.clip import Media
from client.durations import NS_PER_S, to_ns

_WINDOW_NS: Final = 4 * NS_PER_S


class Heard:
    """Takes note of the words that are sent.

    A window goes with the words of its utterance that ended by its end; before the first of them, with those of the
    utterance before, as long as the window reaches back to them.
    """

    def __init__(self) -> None:
        self._words: list[tuple[int, int, str]] = []
        self._utterance_ends: list[int] = []

    def note(self, media: Media) -> None:
        """Remember words and ends of utterances; other media are passed over."""
        if isinstance(media, TextSpan):
            start_ns = to_ns(media.start_offset)
            self._words.append((start_ns, start_ns + to_ns(media.duration), media.text))
        elif isinstance(media, EndOfUtterance):
            self._utterance_ends.append(to_ns(media.offset))

    def now(self) -> str:
        """Return all words so far of the utterance that is going on."""
        return self.at(max((end for _, end, _ in self._words), default=0) + 1)

    def at(self, end_ns: int) -> str:
        """Return the words of the utterance that is current in a window ending at `end_ns`."""
        passed = sorted(offset_ns for offset_ns in self._utterance_ends if offset_ns < end_ns)
        begin_ns = passed[-1] if passed else 0
        before_ns = passed[-2] if len(passed) > 1 else 0
        own = [text for start, end, text in self._words if start >= begin_ns and end <= end_ns]
        before = [
            text
            for start, end, text in self._words
            if before_ns <= start < begin_ns and end_ns - _WINDOW_NS < end <= end_ns
        ]
        return " ".join(own or before)
