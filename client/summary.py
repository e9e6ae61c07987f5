"""Draws what is said at the end, and what a server is: panels and tables for the terminal."""

from collections.abc import Iterable, Mapping, Sequence

from moodstream.v1.result_pb2 import EmotionScore, SentimentResult
from moodstream.v1.service_pb2 import GetServerInfoResponse
from moodstream.v1.session_pb2 import ModalityTotals
from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from client.durations import NS_PER_S, to_ns
from client.names import emotion_name, engine_name, modality_name, polarity_name
from client.rows import bar, spark, style_of, top

_TOTALS = ("received", "used", "skipped", "replaced", "late", "dropped", "rejected")
_BAD_TOTALS = ("late", "dropped", "rejected")
_EMOTION_CELLS = 12


def summary_panel(
    name: str,
    summary: SentimentResult | None,
    finals: Sequence[SentimentResult],
    totals: Iterable[ModalityTotals],
    notes: Mapping[str, str],
    width: int,
) -> Panel:
    """Return the panel that ends a session or a clip.

    Args:
        name: of the clip.
        summary: of scope session; None when no window had data.
        finals: final results of the windows, in order.
        totals: per modality.
        notes: further lines, label to text.
        width: cells of the panel.
    """
    parts: list[RenderableType] = [_sentiment_lines(summary, finals, width)]
    tables: list[RenderableType] = [_totals_table(totals)]
    if summary is not None and summary.emotions:
        tables.insert(0, _emotion_table(summary.emotions))
    parts += [Text(), Columns(tables, padding=(0, 6)), Text(), _notes_table(notes)]
    return Panel(Group(*parts), title=f"[bold]{name}[/]", title_align="left", width=width, padding=(1, 2))


def info_panel(target: str, info: GetServerInfoResponse, width: int) -> Panel:
    """Return the description of a server."""
    models = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("model", "versions", "ready", "providers"):
        models.add_column(column)
    for model in info.models:
        ready = Text("yes", "green") if model.ready else Text("no", "red")
        models.add_row(model.name, ", ".join(model.versions), ready, ", ".join(model.providers))
    limits = info.limits
    notes = {
        "engine": engine_name(info.engine) + (f" ({info.engine_reason})" if info.engine_reason else ""),
        "emotions": ", ".join(map(emotion_name, info.emotions)),
        "polarities": ", ".join(map(polarity_name, info.polarities)),
        "modalities": ", ".join(map(modality_name, info.modalities)),
        "sessions": f"at most {limits.max_sessions}, each at most {_span(to_ns(limits.max_session_duration))}",
        "messages": f"audio at most {_size(limits.max_audio_message_bytes)}, "
        f"images {_size(limits.max_video_message_bytes)}, words {_size(limits.max_text_message_bytes)}",
        "clips": f"at most {_size(limits.max_clip_bytes)} and {_span(to_ns(limits.max_clip_duration))}",
        "idle timeout": _span(to_ns(limits.idle_timeout)),
    }
    title = f"[bold]Moodstream {info.version}[/] at {target}"
    return Panel(Group(models, _notes_table(notes)), title=title, title_align="left", width=width, padding=(1, 2))


def _sentiment_lines(summary: SentimentResult | None, finals: Sequence[SentimentResult], width: int) -> Text:
    course = [result.sentiment if result.HasField("sentiment") else None for result in finals]
    polarity = top(summary.polarities) if summary is not None else None
    if summary is None or polarity is None:
        return Text("No window had data.", "yellow")
    style = f"bold {style_of(summary.sentiment)}"
    line = Text.assemble(
        bar(summary.sentiment, 25), (f"  {summary.sentiment:+.2f}  {polarity_name(polarity.polarity)}", style)
    )
    line.append(f"  (confidence {summary.confidence * 100:.0f}%)", "dim")
    return line.append("\n\n").append_text(spark(course[-(width - 6) :]))


def _emotion_table(emotions: Iterable[EmotionScore]) -> Table:
    table = Table.grid(padding=(0, 1))
    for score in sorted(emotions, key=lambda score: -score.probability):
        blocks = "█" * round(score.probability * _EMOTION_CELLS)
        table.add_row(
            emotion_name(score.emotion), Text(blocks.ljust(_EMOTION_CELLS), "cyan"), f"{score.probability * 100:3.0f}%"
        )
    return table


def _totals_table(totals: Iterable[ModalityTotals]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("messages")
    for column in _TOTALS:
        table.add_column(column, justify="right")
    for total in totals:
        counts = [(column, getattr(total, column)) for column in _TOTALS]
        cells = [Text(str(count), "red" if count and column in _BAD_TOTALS else "") for column, count in counts]
        table.add_row(modality_name(total.modality), *cells)
    return table


def _notes_table(notes: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for label, text in notes.items():
        table.add_row(Text(label, "dim"), text)
    return table


def _span(duration_ns: int) -> str:
    seconds = duration_ns / NS_PER_S
    return f"{seconds / 60:g} min" if seconds >= 120 else f"{seconds:g} s"


def _size(count: int) -> str:
    return f"{count / 2**20:g} MiB" if count >= 2**20 else f"{count / 2**10:g} KiB"
