"""The server's command line: `python -m server --help`."""

import asyncio
import logging
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from server.app import PortError, serve
from server.inference.engine import EngineError
from server.inference.repository import RepositoryError
from server.inference.select import EngineSettings, EngineSetupError
from server.settings import ServerSettings, SessionLimits
from server.triton.errors import TritonError


class Engine(StrEnum):
    """Values of --engine."""

    AUTO = "auto"
    TRITON = "triton"
    ONNXRUNTIME = "onnxruntime"


def main(
    repository: Annotated[
        Path, typer.Option(envvar="MOODSTREAM_REPOSITORY", help="Model repository.", exists=True, file_okay=False)
    ] = Path("model_repository"),
    host: Annotated[str, typer.Option(envvar="MOODSTREAM_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="MOODSTREAM_PORT", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 50051,
    engine: Annotated[
        Engine,
        typer.Option(envvar="MOODSTREAM_ENGINE", help="What runs the models; auto prefers Triton and says why not."),
    ] = Engine.AUTO,
    triton_url: Annotated[
        str | None,
        typer.Option(
            envvar="MOODSTREAM_TRITON_URL", help="host:port of a running Triton, in place of the embedded one."
        ),
    ] = None,
    require_gpu: Annotated[
        bool,
        typer.Option(
            "--require-gpu", envvar="MOODSTREAM_REQUIRE_GPU", help="Refuse to start unless every model got one."
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="MOODSTREAM_TOKEN_FILE",
            exists=True,
            dir_okay=False,
            help="File with the bearer token that calls must carry; without it everybody who reaches the port gets in.",
        ),
    ] = None,
    max_sessions: Annotated[
        int, typer.Option(envvar="MOODSTREAM_MAX_SESSIONS", min=1, max=10_000, help="Sessions and clips at a time.")
    ] = SessionLimits.max_sessions,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what Triton and the sessions do.")] = False,
) -> None:
    """Serve live sentiment over gRPC, and KServe v2 for batch clients on the same port.

    Exit codes: 0 stopped by a signal, 1 could not start.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    settings = ServerSettings(
        engine=EngineSettings(repository, engine.value, triton_url, require_gpu),
        host=host,
        port=port,
        token=None if token_file is None else token_file.read_text().strip(),
        limits=SessionLimits(max_sessions=max_sessions),
    )
    try:
        asyncio.run(_until_signalled(settings))
    except (EngineSetupError, TritonError, EngineError, RepositoryError, PortError) as error:
        print(f"moodstream: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


async def _until_signalled(settings: ServerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)


if __name__ == "__main__":
    typer.run(main)
