"""Draws results as lines of text: bars, statuses, one row per window. It knows what a result is, but no terminal."""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from moodstream.v1.media_pb2 import MODALITY_AUDIO, MODALITY_TEXT, MODALITY_VIDEO
from moodstream.v1.result_pb2 import (
    MODALITY_STATUS_DROPPED,
    MODALITY_STATUS_LATE,
    MODALITY_STATUS_USED,
    EmotionScore,
    ModalityResult,
    PolarityScore,
    SentimentResult,
)
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from client.durations import NS_PER_MS, NS_PER_S, to_ns
from client.names import emotion_name, polarity_name

_Score = TypeVar("_Score", EmotionScore, PolarityScore)

MIN_WIDTH: Final = 80
POLARITY_WIDTH: Final = 90
"""Narrower lines have no column for the polarity: the colour of the sentiment tells it."""

MODALITIES: Final = ((MODALITY_AUDIO, "audio"), (MODALITY_VIDEO, "video"), (MODALITY_TEXT, "text"))

_BAR_CELLS: Final = 11
_TIME_CELLS: Final = 7
_SENTIMENT_CELLS: Final = _BAR_CELLS + 6
_POLARITY_CELLS: Final = 8
_EMOTION_CELLS: Final = 12
_MODALITY_CELLS: Final = 5
_SHARES_CELLS: Final = 3 * _MODALITY_CELLS + 2
_LATENCY_CELLS: Final = 7
_GAP: Final = " "
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_NEUTRAL_BAND: Final = 0.1
_POLARITY_STYLES: Final = {"negative": "red", "neutral": "yellow", "positive": "green"}


def clock(offset_ns: int) -> str:
    """Return a session time in at most seven cells: `2.5 s`, `12:34.5`, `1:02:03`."""
    seconds = offset_ns / NS_PER_S
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes:.0f}:{seconds:04.1f}"
    return f"{minutes // 60:.0f}:{minutes % 60:02.0f}:{seconds:02.0f}"


def style_of(sentiment: float) -> str:
    """Return the colour of a sentiment in [-1, 1]."""
    if abs(sentiment) < _NEUTRAL_BAND:
        return "yellow"
    return "green" if sentiment > 0 else "red"


def bar(sentiment: float, cells: int = _BAR_CELLS) -> Text:
    """Return a bar that grows from its middle, to the left when negative, in steps of half a cell."""
    side = cells // 2
    halves = round(min(1.0, abs(sentiment)) * side * 2)
    full, half = divmod(halves, 2)
    left, right = " " * side, " " * side
    if sentiment < 0:
        left = ("▐" * half + "█" * full).rjust(side)
    else:
        right = ("█" * full + "▌" * half).ljust(side)
    style = style_of(sentiment)
    return Text.assemble((left, style), ("│", "dim"), (right, style))


def spark(sentiments: Iterable[float | None]) -> Text:
    """Return one coloured block per window, higher for more positive; a dot for a window without data."""
    line = Text()
    for sentiment in sentiments:
        if sentiment is None:
            line.append("·", "dim")
        else:
            line.append(_SPARKS[min(7, max(0, int((sentiment + 1) * 4)))], style_of(sentiment))
    return line


def top(scores: Sequence[_Score]) -> _Score | None:
    """Return the most probable class; None without scores."""
    return max(scores, key=lambda score: score.probability, default=None)


def header(width: int, last_column: str = "latency") -> Text:
    """Return the names of the columns."""
    names = [name for _, name in MODALITIES]
    row = _join(
        Text("time".rjust(6).ljust(_TIME_CELLS)),
        Text(_fit("words", _words_cells(width))),
        Text("- sentiment +".ljust(_SENTIMENT_CELLS)),
        *([Text("polarity")] if width >= POLARITY_WIDTH else []),
        Text("emotion".ljust(_EMOTION_CELLS)),
        Text(" ".join(name.rjust(_MODALITY_CELLS) for name in names)),
        Text(last_column.rjust(_LATENCY_CELLS)),
    )
    row.stylize("bold")
    return row


def window_row(result: SentimentResult, words: str, heard_before: str, latency_ns: int | None, width: int) -> Text:
    """Return the row of a window.

    Args:
        result: the window's result.
        words: those of its utterance so far; the last ones that fit are shown.
        heard_before: words of the row above: what is new since is emphasised.
        latency_ns: what the last column shows; None leaves it empty.
        width: cells of the whole row.
    """
    row = _join(
        Text(clock(to_ns(result.end_offset)).rjust(6).ljust(_TIME_CELLS)),
        _words_text(words, heard_before, _words_cells(width)),
        *_verdict(result, width),
        Text(" ").join(modality_cell(result, modality) for modality, _ in MODALITIES),
        Text(("" if latency_ns is None else f"{latency_ns / NS_PER_MS:.0f} ms").rjust(_LATENCY_CELLS), "dim"),
    )
    if not result.is_final:
        row.stylize("dim")
    return row


def moving_row(position_ns: int, words: str, heard_before: str, sentiments: Sequence[float | None], width: int) -> Text:
    """Return the row of what is heard right now, with the course of the sentiment so far."""
    row = _join(
        Text(clock(position_ns).rjust(6).ljust(_TIME_CELLS)),
        _words_text(words, heard_before, _words_cells(width)),
        spark(sentiments[-(width - _TIME_CELLS - _words_cells(width) - 2) :]),
    )
    row.stylize("dim")
    return row


def utterance_row(result: SentimentResult, width: int) -> Text:
    """Return the row of an utterance, in the columns of the windows."""
    start_s, end_s = to_ns(result.start_offset) / NS_PER_S, to_ns(result.end_offset) / NS_PER_S
    span = f"{start_s:.1f} to {end_s:.1f} s"
    label = f"utterance {result.index + 1}: {span}"
    label = label if cell_len(label) <= _words_cells(width) else span
    row = _join(Text("└─".rjust(7)), Text(_fit(label, _words_cells(width))), *_verdict(result, width))
    row.stylize("italic")
    return row


def modality_cell(result: SentimentResult, modality: int) -> Text:
    """Return a modality's share of the result where it was used, else what is the matter with it."""
    found = next((m for m in result.modalities if m.modality == modality), ModalityResult())
    share = f"{found.contribution * 100:.0f}%" if found.contribution else ""
    if found.status == MODALITY_STATUS_USED:
        return Text((share or "0%").rjust(_MODALITY_CELLS), "cyan")
    if found.status == MODALITY_STATUS_LATE:
        return Text("late".rjust(_MODALITY_CELLS), "yellow")
    if found.status == MODALITY_STATUS_DROPPED:
        return Text("drop".rjust(_MODALITY_CELLS), "red")
    # Missing now, but older hops of the window may still count.
    return Text((f"({share})" if share else "-").rjust(_MODALITY_CELLS), "dim")


def _verdict(result: SentimentResult, width: int) -> list[Text]:
    """Sentiment, polarity where there is room, and emotion, each as wide as its column."""
    polarity, emotion = top(result.polarities), top(result.emotions)
    if not result.HasField("sentiment") or polarity is None or emotion is None:
        cells = [Text(_fit("no data", _SENTIMENT_CELLS), "dim"), Text(_fit("", _POLARITY_CELLS))]
        label = Text(_fit("", _EMOTION_CELLS))
    else:
        style = style_of(result.sentiment)
        cells = [Text.assemble(bar(result.sentiment), (f" {result.sentiment:+.2f}", style))]
        name = polarity_name(polarity.polarity)
        cells.append(Text(_fit(name, _POLARITY_CELLS), _POLARITY_STYLES.get(name, "")))
        label = Text(
            _fit(emotion_name(emotion.emotion), _EMOTION_CELLS - 4) + f"{emotion.probability * 100:.0f}%".rjust(4)
        )
    return [*cells[: 2 if width >= POLARITY_WIDTH else 1], label]


def _words_text(words: str, heard_before: str, cells: int) -> Text:
    shown, is_cut = words, cell_len(words) > cells
    while cell_len(shown) > cells - is_cut * 2:
        _, blank, rest = shown.partition(" ")
        shown = rest if blank else shown[1:]
    new_from = len(shown)
    if words != heard_before:
        known = len(heard_before) if words.startswith(heard_before) else 0
        new_from = max(0, known - (len(words) - len(shown)))
    text = Text("… " if is_cut else "", "dim").append(shown[:new_from], "").append(shown[new_from:], "bold")
    text.append(" " * (cells - cell_len(text.plain)))
    return text


def _words_cells(width: int) -> int:
    columns = [_TIME_CELLS, _SENTIMENT_CELLS, _EMOTION_CELLS, _SHARES_CELLS, _LATENCY_CELLS]
    if width >= POLARITY_WIDTH:
        columns.append(_POLARITY_CELLS)
    return max(width, MIN_WIDTH) - sum(columns) - len(columns) * len(_GAP)


def _fit(text: str, cells: int) -> str:
    return set_cell_size(text, cells)


def _join(*cells: Text) -> Text:
    return Text(_GAP, end="").join(cells)
