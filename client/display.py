"""Shows a session while it runs: a live table in a terminal, plain rows in a file, or JSON lines in a pipe."""

import json
import sys
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from moodstream.v1.clip_pb2 import AnalyzeClipResponse
from moodstream.v1.result_pb2 import SCOPE_UTTERANCE, SCOPE_WINDOW, SentimentResult
from moodstream.v1.session_pb2 import MediaRejected, SessionClosed, SessionEvent, SessionResumed, SessionStarted
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from client.api import Message
from client.clip import Clip
from client.durations import NS_PER_S, to_ns
from client.heard import Heard
from client.jsonlines import message_line
from client.latency import Latencies
from client.names import engine_name, event_name, modality_name
from client.rows import header, moving_row, utterance_row, window_row
from client.summary import summary_panel

MAX_WIDTH = 120
"""Lines are no longer than this, however wide the terminal is."""

_REFRESH_PER_S = 10


class Display(Protocol):
    """What `run.run_stream` tells about a session."""

    def show(self, message: Message, words: str, latency_ns: int | None) -> None:
        """Take one answer, with the words heard by the end of its window and the window's latency, if paced."""
        ...

    def close(self) -> None:
        """Leave the terminal in order."""
        ...


def print_json(line: dict[str, Any], file: TextIO | None = None) -> None:
    """Print one JSON line at once, so that a pipe sees it as it happens."""
    print(json.dumps(line, allow_nan=False), file=file or sys.stdout, flush=True)


class JsonDisplay:
    """One JSON line per answer; see `client.jsonlines`."""

    def show(self, message: Message, words: str, latency_ns: int | None) -> None:
        """Print the answer."""
        print_json(message_line(message, words=words, latency_ns=latency_ns))

    def close(self) -> None:
        """Nothing is open."""


class TableDisplay:
    """Rows of final windows, which stay, and below them, in a terminal, what is still moving."""

    def __init__(self, console: Console, clip: Clip, position: Callable[[], tuple[int, str]], fast: bool) -> None:
        """Prepare the table.

        Args:
            console: where to draw.
            clip: what is streamed.
            position: says how much of the clip has been sent, and the words that are being heard.
            fast: the session is not paced: instead of the latency, the server's own time is shown.
        """
        self._console, self._clip, self._fast = console, clip, fast
        self._position = position
        self._width = min(console.width, MAX_WIDTH)
        self._finals: list[SentimentResult] = []
        self._pending: dict[str, Text] = {}
        self._heard = ""
        self._first, self._final = Latencies(), Latencies()
        self._latency_of: dict[int, int | None] = {}
        self._engine = ""
        self._live = Live(
            console=console,
            get_renderable=self._moving,
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def show(self, message: Message, words: str, latency_ns: int | None) -> None:
        """Draw the answer."""
        match message:
            case SessionStarted():
                self._start(message)
            case SentimentResult() if message.scope == SCOPE_WINDOW:
                self._window(message, words, latency_ns)
            case SentimentResult() if message.scope == SCOPE_UTTERANCE:
                self._utterance(message)
            case MediaRejected():
                self._console.print(_rejected_line(message))
            case SessionEvent():
                name = event_name(message.type).replace("_", " ")
                self._console.print(Text(f"{name}: {message.message}", "magenta"))
            case SessionResumed():
                self._console.print(Text("the connection was lost; the session goes on", "magenta"))
            case SessionClosed():
                self.close()
                self._console.print(self._summary(message))

    def close(self) -> None:
        """Take away what moves."""
        if self._console.is_terminal:
            self._live.stop()

    def _line(self, line: Text) -> None:
        self._console.print(line, no_wrap=True, overflow="crop")

    def _start(self, message: SessionStarted) -> None:
        self._engine = engine_name(message.engine)
        title = Text.assemble((self._clip.name, "bold"), f"  {self._clip.duration_ns / NS_PER_S:.1f} s")
        title.append(f"  session {message.session_id} on {self._engine}", "dim")
        self._line(title)
        self._line(header(self._width, "server" if self._fast else "latency"))
        if self._console.is_terminal:
            self._live.start()

    def _window(self, result: SentimentResult, words: str, latency_ns: int | None) -> None:
        if result.revision == 0:
            self._first.add(latency_ns)
            self._latency_of[result.index] = to_ns(result.timings.total) if self._fast else latency_ns
        row = window_row(result, words, self._heard, self._latency_of.get(result.index), self._width)
        if not result.is_final:
            self._pending[result.id] = row
            return
        self._final.add(latency_ns)
        self._pending.pop(result.id, None)
        self._latency_of.pop(result.index, None)
        self._finals.append(result)
        self._heard = words
        self._line(row)

    def _utterance(self, result: SentimentResult) -> None:
        row = utterance_row(result, self._width)
        if not result.is_final:
            self._pending[result.id] = row
            return
        self._pending.pop(result.id, None)
        self._line(row)

    def _moving(self) -> Group:
        position_ns, words = self._position()
        course = [result.sentiment if result.HasField("sentiment") else None for result in self._finals]
        return Group(*self._pending.values(), moving_row(position_ns, words, self._heard, course, self._width))

    def _summary(self, closed: SessionClosed) -> Any:
        notes = {
            "first results": str(self._first),
            "final results": str(self._final),
            "windows": f"{len(self._finals)} ({closed.results} results) by {self._engine}",
        }
        if self._fast:
            del notes["first results"], notes["final results"]
        summary = closed.summary if closed.HasField("summary") else None
        return summary_panel(self._clip.name, summary, self._finals, closed.totals, notes, self._width)


def print_clip(console: Console, name: str, response: AnalyzeClipResponse, heard: Heard) -> None:
    """Print an analysed clip: a row per window, the utterances where they end, and the summary."""
    width = min(console.width, MAX_WIDTH)
    console.print(Text(name, "bold"))
    console.print(header(width, ""))
    before = ""
    utterances = list(response.utterances)
    for result in response.windows:
        words = heard.at(to_ns(result.end_offset))
        console.print(window_row(result, words, before, None, width))
        before = words
        while utterances and to_ns(utterances[0].end_offset) <= to_ns(result.end_offset):
            console.print(utterance_row(utterances.pop(0), width))
    for result in utterances:
        console.print(utterance_row(result, width))
    for rejected in response.rejected:
        console.print(_rejected_line(rejected))
    summary = response.summary if response.HasField("summary") else None
    notes = {"windows": str(len(response.windows))}
    console.print(summary_panel(name, summary, response.windows, response.totals, notes, width))


def _rejected_line(rejected: MediaRejected) -> Text:
    sequence = f" {rejected.sequence}" if rejected.HasField("sequence") else ""
    return Text(f"rejected {modality_name(rejected.modality)}{sequence}: {rejected.error.message}", "yellow")
