"""The words of a session and the utterances they belong to."""

from bisect import bisect_left, insort
from dataclasses import dataclass

from server.session.pieces import Words

_KEPT_BOUNDARIES = 64
_KEPT_TEXTS = 8
_KEPT_WORDS = 400
_KEPT_CHARACTERS = 4_000
"""More than the pieces that a window can show; older words of an endless utterance are forgotten."""


@dataclass(frozen=True)
class _Span:
    start_ns: int
    end_ns: int
    text: str


class Transcript:
    """Timed words; a window sees those of its utterance that ended by the window's end."""

    def __init__(self) -> None:
        self.end_ns = 0
        self._spans: list[_Span] = []
        self._boundaries: list[int] = []
        self._recent: dict[str, Words] = {}

    def add(self, start_ns: int, end_ns: int, text: str) -> None:
        """Add words in the order of their sequence."""
        self._spans.append(_Span(start_ns, end_ns, text))
        self.end_ns = max(self.end_ns, end_ns)
        del self._spans[:-_KEPT_WORDS]

    def end_utterance(self, offset_ns: int) -> None:
        """Words that begin at or after the offset belong to the next utterance."""
        insort(self._boundaries, offset_ns)
        del self._boundaries[:-_KEPT_BOUNDARIES]

    def words_at(self, window_end_ns: int) -> Words | None:
        """Return the text of the window's utterance, the same object as long as it is the same; None without words.

        A window that ends exactly at an utterance's end still shows that utterance.
        """
        passed = bisect_left(self._boundaries, window_end_ns)
        begin_ns = self._boundaries[passed - 1] if passed else 0
        text = " ".join(span.text for span in self._spans if span.start_ns >= begin_ns and span.end_ns <= window_end_ns)
        if not text:
            return None
        if len(text) > _KEPT_CHARACTERS:
            text = text[-_KEPT_CHARACTERS:].partition(" ")[2] or text[-_KEPT_CHARACTERS:]
        words = self._recent.pop(text, None) or Words(text)
        self._recent[text] = words
        if len(self._recent) > _KEPT_TEXTS:
            del self._recent[next(iter(self._recent))]
        return words
