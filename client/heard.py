"""Which words have been heard by the end of a window, for those who read along."""

from moodstream.v1.media_pb2 import TextSpan
from moodstream.v1.session_pb2 import EndOfUtterance

from client.clip import Media
from client.durations import to_ns


class Heard:
    """Takes note of the words that are sent. A window shows those of its utterance that ended by its end."""

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
        begin_ns = max((offset_ns for offset_ns in self._utterance_ends if offset_ns < end_ns), default=0)
        return " ".join(text for start, end, text in self._words if start >= begin_ns and end <= end_ns)
