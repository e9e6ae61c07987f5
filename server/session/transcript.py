"""The words of a session, the hypotheses that may still change, and the ends of utterances."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import accumulate

from server.session.messages import Media
from server.session.pieces import Span, Totals, Words

LIVE_SPANS = 400
"""More than the pieces that a result can show; older words of an endless utterance are forgotten."""
RECORDED_SPANS = 20_000
_KEPT_BOUNDARIES = 4_096
_KEPT_TEXTS = 8
_KEPT_CHARACTERS = 4_000

Part = tuple[Span, str]
"""Words of a span that a result shows."""


def span_of(message: Media, start_ns: int) -> Span:
    """Return the words of a message that begin at `start_ns`.

    Words without times of their own are spread over the span by their lengths.
    """
    if message.words:
        words = tuple((word.end_ns, word.text) for word in message.words)
    else:
        plain = message.data.decode().split()
        reached = list(accumulate(len(word) for word in plain))
        words = tuple(
            (start_ns + message.duration_ns * passed // reached[-1], word)
            for passed, word in zip(reached, plain, strict=True)
        )
    return Span(
        start_ns,
        max([start_ns + message.duration_ns, *(end_ns for end_ns, _ in words)]),
        " ".join(text for _, text in words),
        words,
        message.hypothesis,
        message.is_final or message.hypothesis is None,
        message.has_time,
    )


class Transcript:
    """Timed words in the order of their begin. It also keeps the fate of each message in the totals."""

    def __init__(self, totals: Totals, kept_spans: int) -> None:
        self._totals = totals
        self._kept_spans = kept_spans
        self._spans: list[Span] = []
        self._boundaries: list[int] = []
        self._since_boundary: list[Span] = []
        """Spans without a time that came after the last end of an utterance was declared."""
        self._recent: dict[str, Words] = {}
        self._final_start_ns = 0
        self._hypotheses = 0
        """Spans that may still be replaced."""

    @property
    def final_start_ns(self) -> int:
        """Begin of the newest words that are final: words in order begin no earlier."""
        return self._final_start_ns

    def knows(self, hypothesis: int) -> bool:
        """Tell whether a hypothesis of that number may still be replaced."""
        return self._hypotheses > 0 and any(one.hypothesis == hypothesis and not one.is_final for one in self._spans)

    def add(self, span: Span) -> None:
        """Add words, in the place of their hypothesis if it has any yet. Without words they only take it back."""
        for old in self._replaced_by(span):
            self._spans.remove(old)
            self._hypotheses -= 1
            self._totals.replaced += 1
        if not span.words:
            self._totals.replaced += 1
            return
        insort(self._spans, span, key=_start_of)
        if span.is_final:
            self._final_start_ns = max(self._final_start_ns, span.start_ns)
        else:
            self._hypotheses += 1
        if not span.is_timed:
            self._since_boundary = [*self._since_boundary[1 - self._kept_spans :], span]
        self._settle(self._spans[: -self._kept_spans])
        self._hypotheses -= sum(not one.is_final for one in self._spans[: -self._kept_spans])
        del self._spans[: -self._kept_spans]

    def _replaced_by(self, span: Span) -> list[Span]:
        if not self._hypotheses or span.hypothesis is None:
            return []
        return [one for one in self._spans if one.hypothesis == span.hypothesis and not one.is_final]

    def end_utterance(self, offset_ns: int) -> None:
        """Words that begin at or after the offset belong to the next utterance.

        Words without a time that came before their utterance's end was declared belong to it, wherever they were
        placed.
        """
        for span in self._since_boundary:
            if span.start_ns >= offset_ns > 0 and span in self._spans:
                self._spans.remove(span)
                span.start_ns = span.end_ns = offset_ns - 1
                span.words = tuple((span.end_ns, text) for _, text in span.words)
                insort(self._spans, span, key=_start_of)
        self._since_boundary.clear()
        insort(self._boundaries, offset_ns)
        del self._boundaries[:-_KEPT_BOUNDARIES]

    def finish(self) -> None:
        """No more words will come: what stands is final."""
        for span in self._spans:
            span.is_final = True
        self._hypotheses = 0

    def close(self) -> None:
        """Settle the fates of all words: those that no final result used were late."""
        self._settle(self._spans)
        self._spans.clear()

    def has(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether words that are final begin in a stretch."""
        return any(span.is_final for span in self._within(start_ns, end_ns))

    def waits(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether words that begin in a stretch may still be replaced."""
        return self._hypotheses > 0 and any(not span.is_final for span in self._within(start_ns, end_ns))

    def first_ns(self, start_ns: int, end_ns: int) -> int | None:
        """Return where the first words of a stretch begin; None where that is not known."""
        within = self._within(start_ns, end_ns)
        lasting = (span.start_ns for span in within if span.is_timed and span.end_ns > span.start_ns)
        return next(lasting, None)

    def window_waits(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether words that a window shows may still be replaced."""
        return self._hypotheses > 0 and any(not span.is_final for span, _ in self._window_parts(start_ns, end_ns))

    def of_utterance(self, start_ns: int, end_ns: int, is_final: bool) -> Words | None:
        """Return all words that begin in a stretch, for a result that `is_final` only those that are final."""
        spans = self._within(start_ns, end_ns)
        return self._text(((span, span.text) for span in spans), is_final)

    def of_window(self, start_ns: int, end_ns: int, is_final: bool) -> Words | None:
        """Return what a window shows, the same object as long as it is the same text; None without words.

        That is the words of its utterance that ended by its end, and before them those of the utterance before that
        ended after its start. A window that ends exactly at an utterance's end still shows that utterance.
        """
        return self._text(self._window_parts(start_ns, end_ns), is_final)

    def _window_parts(self, start_ns: int, end_ns: int) -> Iterator[Part]:
        begin_ns = self._begin_of(end_ns)
        first = bisect_left(self._spans, begin_ns, key=_start_of)
        before = self._within(self._begin_of(self._spans[first - 1].start_ns + 1), begin_ns) if first else []
        reached = [span for span in before if span.end_ns > start_ns]
        for span in (*reached, *self._within(begin_ns, end_ns + 1)):
            said = span.text if span.end_ns <= end_ns else _said(span, end_ns)
            if said:
                yield span, said

    def _begin_of(self, end_ns: int) -> int:
        """Return where the utterance begins that ends at `end_ns` or later."""
        passed = bisect_left(self._boundaries, end_ns)
        return self._boundaries[passed - 1] if passed else 0

    def _within(self, start_ns: int, end_ns: int) -> list[Span]:
        first = bisect_left(self._spans, start_ns, key=_start_of)
        return self._spans[first : bisect_left(self._spans, end_ns, key=_start_of)]

    def _text(self, parts: Iterable[Part], is_final: bool) -> Words | None:
        shown = [(span, text) for span, text in parts if span.is_final or not is_final]
        length = list(accumulate(len(text) + 1 for _, text in reversed(shown)))
        fitting = max(1, sum(reached <= _KEPT_CHARACTERS for reached in length))
        shown = shown[-fitting:]
        text = " ".join(text for _, text in shown)[-_KEPT_CHARACTERS:]
        if not text:
            return None
        words = self._recent.pop(text, None) or Words(text)
        self._recent[text] = words
        if len(self._recent) > _KEPT_TEXTS:
            del self._recent[next(iter(self._recent))]
        if is_final:
            self._use(words, [span for span, _ in shown])
        return words

    # Fates.

    def drop(self, words: Words) -> None:
        """Note that a text could not be encoded."""
        words.is_dropped = True
        for span in words.spans:
            span.uses -= 1
            if not span.uses:
                span.is_dropped = True
                self._totals.used -= 1
                self._totals.dropped += 1
        words.spans.clear()

    def _use(self, words: Words, spans: list[Span]) -> None:
        for span in spans:
            if span in words.spans:
                continue
            words.spans.add(span)
            span.uses += 1
            if span.uses == 1:
                self._totals.used += 1
                self._totals.dropped -= span.is_dropped
                span.is_dropped = False
        if words.is_dropped:
            self.drop(words)

    def _settle(self, spans: Iterable[Span]) -> None:
        self._totals.late += sum(not span.uses and not span.is_dropped for span in spans)


def _said(span: Span, end_ns: int) -> str:
    """Return the words of a span that ended by a time."""
    return " ".join(text for word_end_ns, text in span.words if word_end_ns <= end_ns)


def _start_of(span: Span) -> int:
    return span.start_ns
