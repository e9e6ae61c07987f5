"""The command line of the client. It reads options and files, and leaves the work to `client.run`."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from client import exits
from client.api import MoodstreamClient
from client.builtin import NAME, write_mp4
from client.display import Display, JsonDisplay, TableDisplay, print_json
from client.errors import MediaError, MoodstreamError
from client.exits import Exit
from client.local_server import local_server
from client.media import MAX_FPS, MediaOptions
from client.messages import CHUNK_MS
from client.pacing import Pacer
from client.run import Session, load_clip, run_analyze, run_info

PLAIN_WIDTH = 100

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Stream or analyse clips with a Moodstream server.",
    epilog=exits.HELP,
)

ServerOption = Annotated[
    str, typer.Option("--server", metavar="HOST:PORT", envvar="MOODSTREAM_SERVER", help="Address of the server.")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", envvar="MOODSTREAM_TOKEN_FILE", help="File with the bearer token, if the server asks."
    ),
]
TranscriptOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|TEXT",
        help="Words of the clip: a .srt, .vtt, .json(l) or .txt file, or the words themselves. "
        "Words without times are spread over the clip.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON line per answer (keys: client/jsonlines.py).")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 when media was rejected, came late or was dropped.")
]
NoAudioOption = Annotated[bool, typer.Option("--no-audio", help="Leave the audio out.")]
NoVideoOption = Annotated[bool, typer.Option("--no-video", help="Leave the video out.")]
NoTextOption = Annotated[bool, typer.Option("--no-text", help="Leave the words out.")]
DEFAULT_SERVER = "127.0.0.1:50051"


@app.command(epilog=exits.HELP)
def stream(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Media file, or 'builtin' for the built-in clip.")
    ] = NAME,
    server: ServerOption = DEFAULT_SERVER,
    spawn: Annotated[
        bool, typer.Option("--spawn", help="Start a server of this checkout for the run, instead of --server.")
    ] = False,
    token_file: TokenFileOption = None,
    transcript: TranscriptOption = None,
    fast: Annotated[bool, typer.Option("--fast", help="As fast as the server takes it, not in real time.")] = False,
    json: JsonOption = False,
    strict: StrictOption = False,
    no_audio: NoAudioOption = False,
    no_video: NoVideoOption = False,
    no_text: NoTextOption = False,
    chunk_ms: Annotated[int, typer.Option(min=10, max=1000, help="Length of an audio message.")] = CHUNK_MS,
    max_fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames per second at most.")] = MAX_FPS,
) -> None:
    """Send a clip as a live session and watch the sentiment, window by window.

    One row is printed per window of half a second: the words heard so far, the sentiment of the last four seconds,
    polarity and emotion, each modality's share of the result, and the time from the moment when the window's last
    sample was to be sent to its first result.
    """
    options = MediaOptions(audio=not no_audio, video=not no_video, chunk_ms=chunk_ms, max_fps=max_fps)

    async def work() -> Exit:
        clip = await asyncio.to_thread(load_clip, file, transcript, options, not no_text)
        async with AsyncExitStack() as stack:
            target = await _spawned(stack, _console()) if spawn else server
            client = await stack.enter_async_context(MoodstreamClient(target, _token(token_file)))
            # The pace begins when the server is there.
            session = Session(clip, Pacer(fast=fast))
            display: Display = JsonDisplay() if json else TableDisplay(_console(), clip, session.position, fast)
            return await session.run(client, display, strict)

    _finish(work(), json)


@app.command(epilog=exits.HELP)
def analyze(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Media files, or 'builtin'.")],
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    transcript: TranscriptOption = None,
    json: JsonOption = False,
    strict: StrictOption = False,
    no_audio: NoAudioOption = False,
    no_video: NoVideoOption = False,
    no_text: NoTextOption = False,
) -> None:
    """Analyse whole clips, each as fast as the server can.

    A file is sent as it is and decoded by the server; with --no-audio or --no-video it is taken apart here and the rest
    is sent. Ends at the first file that fails.
    """
    if transcript is not None and len(files) > 1:
        raise typer.BadParameter("belongs to one clip, but several are given", param_hint="--transcript")
    options = MediaOptions(audio=not no_audio, video=not no_video)

    async def work() -> Exit:
        async with MoodstreamClient(server, _token(token_file)) as client:
            worst = Exit.OK
            for file in files:
                show = print_json if json else _console()
                worst = max(worst, await run_analyze(client, file, transcript, options, not no_text, strict, show))
            return worst

    _finish(work(), json)


@app.command(epilog=exits.HELP)
def info(server: ServerOption = DEFAULT_SERVER, token_file: TokenFileOption = None, json: JsonOption = False) -> None:
    """Print the server's engine, models, labels and limits."""

    async def work() -> Exit:
        async with MoodstreamClient(server, _token(token_file)) as client:
            return await run_info(client, print_json if json else _console())

    _finish(work(), json)


@app.command()
def builtin(out: Annotated[Path, typer.Argument(metavar="OUT.mp4", help="File to write.")]) -> None:
    """Write the built-in clip as an mp4 file."""

    async def work() -> Exit:
        await asyncio.to_thread(write_mp4, out)
        return Exit.OK

    _finish(work(), json=False)


async def _spawned(stack: AsyncExitStack, console: Console) -> str:
    """Start a server that lives as long as `stack` and return its address."""
    with console.status("starting a server") if console.is_terminal else nullcontext():
        return (await stack.enter_async_context(local_server())).target


def _console() -> Console:
    """The terminal; a file or pipe gets plain rows of `PLAIN_WIDTH` cells."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def _token(token_file: Path | None) -> str | None:
    if token_file is None:
        return None
    try:
        return token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"token file {token_file} can't be read: {error}") from None


def _finish(work: Coroutine[Any, Any, Exit], json: bool) -> None:
    """Run a command, turn what it raises into one line, and leave with its exit code."""
    try:
        code = asyncio.run(work)
    except (MediaError, MoodstreamError) as error:
        code = exits.exit_of(error)
        status = error.code.name if isinstance(error, MoodstreamError) else "INVALID_ARGUMENT"
        text = error.message if isinstance(error, MoodstreamError) else str(error)
        if json:
            print_json({"type": "error", "code": status, "message": text})
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {text}", style="red", markup=False)
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    raise typer.Exit(int(code))
