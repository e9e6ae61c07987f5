"""Words and their times: plain text spread over a clip, or a file that tells when each was said.

Formats: `.txt` (no times), `.srt` and `.vtt` (a cue's words are spread over the cue), `.json` or `.jsonl` (one object
per line, or a list of them: `{"start": seconds, "end": seconds, "text": words}`).
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moodstream.v1.media_pb2 import TextSpan
from moodstream.v1.session_pb2 import EndOfUtterance

from client.clip import Timed
from client.durations import NS_PER_S, seconds_to_ns, to_duration
from client.errors import MediaError

_SUFFIXES: Final = (".txt", ".srt", ".vtt", ".json", ".jsonl")
_SENTENCE_END: Final = re.compile(r"[.!?…][\"'”)\]]*$")
_CUE_TIME: Final = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{3})")
_TAG: Final = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Word:
    """One word as it was said."""

    start_ns: int
    end_ns: int
    text: str


@dataclass(frozen=True)
class Transcript:
    """The words of a clip in the order of their start, and the ends of its utterances."""

    words: tuple[Word, ...]
    utterance_ends_ns: tuple[int, ...]

    def spans(self) -> list[TextSpan]:
        """Return one text message per word, numbered from 0."""
        return [
            TextSpan(
                sequence=sequence,
                start_offset=to_duration(word.start_ns),
                duration=to_duration(word.end_ns - word.start_ns),
                text=word.text,
            )
            for sequence, word in enumerate(self.words)
        ]

    def messages(self) -> Iterator[Timed]:
        """Yield words when they have been said, and ends of utterances, as a live recogniser would send them."""
        ends = [Timed(end_ns, EndOfUtterance(offset=to_duration(end_ns))) for end_ns in self.utterance_ends_ns]
        words = [Timed(word.end_ns, span) for word, span in zip(self.words, self.spans(), strict=True)]
        # Sorting is stable: an utterance's last word goes before its end.
        yield from sorted([*words, *ends], key=lambda timed: timed.due_ns)


def read_transcript(source: str, duration_ns: int) -> Transcript:
    """Return the transcript that `source` means: the name of a file, or the words themselves.

    Args:
        source: path of a file in one of the formats above, or text.
        duration_ns: length of the clip, over which words without times are spread.

    Raises:
        MediaError: the file can't be read, has an unknown suffix, or holds times that make no sense.
    """
    suffix = Path(source).suffix.lower() if "\n" not in source else ""
    if suffix not in _SUFFIXES and not _is_file(source):
        return spread(source, duration_ns)
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"transcript {source} can't be read: {error}") from None
    if suffix == ".txt":
        return spread(text, duration_ns)
    if suffix in (".srt", ".vtt"):
        return _from_words(_parse_cues(text, source))
    if suffix in (".json", ".jsonl"):
        return _from_words(_parse_json(text, source))
    raise MediaError(f"transcript {source}: unknown format, expected one of {' '.join(_SUFFIXES)}")


def spread(text: str, duration_ns: int) -> Transcript:
    """Return the words of `text` in equal parts of the clip, as one utterance."""
    return _from_words(_spread_words(text, 0, duration_ns), by_sentence=False)


def _is_file(source: str) -> bool:
    try:
        return Path(source).is_file()
    except OSError:  # text is often longer than a file's name may be
        return False


def _spread_words(text: str, start_ns: int, end_ns: int) -> list[Word]:
    texts = text.split()
    edges = [start_ns + (end_ns - start_ns) * index // max(1, len(texts)) for index in range(len(texts) + 1)]
    return [Word(edges[index], edges[index + 1], word) for index, word in enumerate(texts)]


def _from_words(words: Iterable[Word], by_sentence: bool = True) -> Transcript:
    """Return the words with the ends of their sentences; what is left over at the end is one as well."""
    ordered = sorted(words, key=lambda word: word.start_ns)
    ends = [word.end_ns for word in ordered[:-1] if by_sentence and _SENTENCE_END.search(word.text)]
    return Transcript(tuple(ordered), (*ends, *(word.end_ns for word in ordered[-1:])))


def _parse_cues(text: str, source: str) -> list[Word]:
    words: list[Word] = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        lines = block.strip().split("\n")
        timing = next((index for index, line in enumerate(lines) if "-->" in line), None)
        if timing is None:
            continue  # the header, a note or a style of WebVTT
        times = [_cue_ns(*match) for match in _CUE_TIME.findall(lines[timing])]
        if len(times) != 2:
            raise MediaError(f"transcript {source}: expected two times in the cue line {lines[timing]!r}")
        _check_order(times[0], times[1], source)
        words += _spread_words(_TAG.sub("", " ".join(lines[timing + 1 :])), times[0], times[1])
    return words


def _cue_ns(hours: str, minutes: str, seconds: str, milliseconds: str) -> int:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return whole * NS_PER_S + int(milliseconds) * 1_000_000


def _parse_json(text: str, source: str) -> list[Word]:
    try:
        lines = [line for line in text.splitlines() if line.strip()]
        entries: list[dict[str, Any]] = json.loads(text) if text.lstrip().startswith("[") else [*map(json.loads, lines)]
        timed = [(seconds_to_ns(float(e["start"])), seconds_to_ns(float(e["end"])), str(e["text"])) for e in entries]
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        example = '{"start": 0.5, "end": 0.9, "text": "hello"}'
        raise MediaError(f"transcript {source}: expected objects like {example} ({error!r})") from None
    words: list[Word] = []
    for start_ns, end_ns, words_of_entry in timed:
        _check_order(start_ns, end_ns, source)
        words += _spread_words(words_of_entry, start_ns, end_ns)
    return words


def _check_order(start_ns: int, end_ns: int, source: str) -> None:
    if not 0 <= start_ns <= end_ns:
        raise MediaError(f"transcript {source}: words from {start_ns / NS_PER_S} s to {end_ns / NS_PER_S} s")
