"""The command line of the load tests. It reads options, and leaves the work to `loadtest.runner`."""

import asyncio
import csv
import json
import shlex
import sys
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import grpc
import psutil
import typer
from rich.console import Console

from client.builtin import NAME, builtin_clip
from client.clip import Clip
from client.errors import MediaError, MoodstreamError
from client.media import MediaOptions, open_clip
from client.messages import CHUNK_MS
from loadtest.processes import ServerError
from loadtest.recovery import dumps, measure, render_recoveries
from loadtest.report import Objectives, Report, render
from loadtest.runner import Load, Server, run_against, run_spawned
from loadtest.schedule import Schedule


class Exit(IntEnum):
    """What a run came to."""

    OK = 0
    MISSED = 1
    USAGE = 2
    NO_SERVER = 3
    ERRORS = 4
    INTERRUPTED = 130


HELP = """Exit codes:

- 0: done, every objective met
- 1: an objective was missed
- 2: wrong usage, or a clip can't be read
- 3: no server answers, or the spawned one did not start or stop in order
- 4: sessions failed
- 130: interrupted
"""
MAX_WIDTH = 110

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False, epilog=HELP
)


@app.callback()
def main() -> None:
    """Load a running Moodstream server and measure it."""


@app.command(epilog=HELP)
def sessions(
    sessions: Annotated[int, typer.Option("--sessions", "-n", min=1, help="Live sessions at the same time.")] = 8,
    seconds: Annotated[float, typer.Option("--seconds", "-s", min=0.5, help="Length of each session.")] = 20.0,
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", envvar="MOODSTREAM_SERVER", help="Address of a running server.")
    ] = "127.0.0.1:50051",
    spawn: Annotated[bool, typer.Option("--spawn", help="Start a server for the test, and stop it after.")] = False,
    server_args: Annotated[str, typer.Option(help="Arguments of the spawned server, as in a shell.")] = "--engine auto",
    pid: Annotated[int | None, typer.Option(help="Process of the running server, to measure what it uses.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(envvar="MOODSTREAM_TOKEN_FILE", exists=True, dir_okay=False, help="Bearer token.")
    ] = None,
    clip: Annotated[
        str,
        typer.Option(help="'builtin', 'data' (the talking faces of the data folder), or a media file."),
    ] = NAME,
    transcript: Annotated[str | None, typer.Option(metavar="FILE|TEXT", help="Words of a media file.")] = None,
    data: Annotated[Path | None, typer.Option(envvar="MOODSTREAM_DATA", help="Data folder, for '--clip data'.")] = None,
    max_fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames per second at most.")] = 10.0,
    chunk_ms: Annotated[int, typer.Option(min=10, max=1000, help="Length of an audio message.")] = CHUNK_MS,
    stagger: Annotated[float, typer.Option(min=0.0, help="Seconds over which the sessions start.")] = 1.0,
    final_only: Annotated[bool, typer.Option("--final-only", help="Ask for final results only.")] = False,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="Write the report as JSON; - is the output.")
    ] = None,
    max_p99_ms: Annotated[float | None, typer.Option(help="Objective: p99 of first results.")] = None,
    max_final_p99_ms: Annotated[float | None, typer.Option(help="Objective: p99 of final results.")] = None,
    max_rss_mb: Annotated[float | None, typer.Option(help="Objective: peak resident memory of the server.")] = None,
    max_start_s: Annotated[float | None, typer.Option(help="Objective: start to first result, with --spawn.")] = None,
    no_drops: Annotated[
        bool, typer.Option("--no-drops", help="Objective: no window missing, nothing late, dropped or rejected.")
    ] = False,
) -> None:
    """Replay paced live sessions and measure the latency of each window.

    The load is open-loop: messages are sent when a live source would send them, whatever the server does. Latency is
    the time from the intended send time of a window's last sample to the arrival of its first result, and of its final
    one. Sessions repeat the clip without a seam.
    """
    objectives = Objectives(max_p99_ms, max_final_p99_ms, max_rss_mb, max_start_s, no_drops)
    options = MediaOptions(chunk_ms=chunk_ms, max_fps=max_fps)
    load = Load(sessions, stagger)
    token = token_file.read_text().strip() if token_file else None
    console = _console(to_stderr=json_file == "-")
    try:
        clips = _clips(clip, transcript, data, options)
        schedules = [Schedule(one, seconds, final_only=final_only, chunk_ms=chunk_ms) for one in clips]
        with console.status("starting") as status:

            def progress(elapsed_s: float) -> None:
                status.update(f"{max(0.0, elapsed_s):.0f} of {seconds + stagger:g} s, {sessions} sessions")

            if spawn:
                work = run_spawned(shlex.split(server_args), token, schedules, load, progress)
            else:
                work = run_against(Server(server, token, pid), schedules, load, progress)
            report = asyncio.run(work)
    except MediaError as error:
        raise _failed(str(error), Exit.USAGE) from None
    except psutil.NoSuchProcess:
        raise _failed(f"there is no process {pid}", Exit.USAGE) from None
    except (MoodstreamError, ServerError) as error:
        raise _failed(str(error), Exit.NO_SERVER) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    raise typer.Exit(_conclude(report, objectives, console, json_file))


@app.command(epilog=HELP)
def recovery(
    seconds: Annotated[float, typer.Option("--seconds", "-s", min=8.0, help="Length of each stream.")] = 20.0,
    server_args: Annotated[
        str, typer.Option(help="Arguments of the spawned server, as in a shell.")
    ] = "--engine triton",
    max_recovery_s: Annotated[float | None, typer.Option(help="Objective: from a kill until right again.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Kill a model's stub and tritonserver during live streams, and measure how long until results are right again.

    Right is what the same stream gave before, undisturbed. A server is started for the test, and stopped after.
    """
    try:
        recoveries, stop_s = asyncio.run(measure(Schedule(builtin_clip(), seconds), shlex.split(server_args)))
    except LookupError as error:
        raise _failed(str(error), Exit.USAGE) from None
    except (MoodstreamError, ServerError) as error:
        raise _failed(str(error), Exit.NO_SERVER) from None
    except grpc.aio.AioRpcError as error:
        raise _failed(f"a stream did not survive: {error.details()}", Exit.ERRORS) from None
    _console(to_stderr=False).print(dumps(recoveries, stop_s) if json else render_recoveries(recoveries, stop_s))
    limit_s = float("inf") if max_recovery_s is None else max_recovery_s
    missed = [
        one for one in recoveries if one.seconds is None or one.seconds > limit_s or one.windows < one.expected_windows
    ]
    raise typer.Exit(Exit.MISSED if missed else Exit.OK)


def _console(to_stderr: bool) -> Console:
    """The terminal; a file or pipe gets lines of `MAX_WIDTH`."""
    console = Console(stderr=to_stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=to_stderr, highlight=False, width=MAX_WIDTH)


def _conclude(report: Report, objectives: Objectives, console: Console, json_file: str | None) -> Exit:
    missed = objectives.missed(report)
    console.print(render(report, objectives, min(MAX_WIDTH, console.width)))
    if json_file is not None:
        text = json.dumps({**report.as_dict(), "missed": missed}, indent=2, allow_nan=False) + "\n"
        if json_file == "-":
            sys.stdout.write(text)
        else:
            Path(json_file).write_text(text)
    if report.record.errors:
        return Exit.ERRORS
    return Exit.MISSED if missed else Exit.OK


def _clips(clip: str, transcript: str | None, data: Path | None, options: MediaOptions) -> list[Clip]:
    if clip == NAME:
        return [builtin_clip(options)]
    if clip != "data":
        return [open_clip(clip, transcript, options)]
    if data is None:
        raise MediaError("'--clip data' needs the data folder: give --data or set MOODSTREAM_DATA")
    manifest = data / "clips" / "manifest.csv"
    try:
        rows = list(csv.DictReader(manifest.read_text().splitlines()))
    except OSError as error:
        raise MediaError(f"{manifest} can't be read: {error.strerror}") from None
    return [open_clip(manifest.parent / row["path"], row["transcript"], options) for row in rows]


def _failed(text: str, code: Exit) -> typer.Exit:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {text}", style="red", markup=False)
    return typer.Exit(code)
