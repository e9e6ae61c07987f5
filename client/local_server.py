"""A server for the length of one command, on a free port of the loopback. It knows the server only as a command."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import grpc

from client.errors import MoodstreamError

_START_S: Final = 120.0
_STOP_S: Final = 20.0
_READY: Final = "Moodstream listens on "


@dataclass(frozen=True)
class LocalServer:
    """A server that runs for the length of `local_server`."""

    target: str
    """Its address."""
    process: asyncio.subprocess.Process
    """After the end, its `returncode` says whether it stopped in order."""


@asynccontextmanager
async def local_server(arguments: Sequence[str] = ()) -> AsyncIterator[LocalServer]:
    """Run `python -m server`, yield it when it accepts calls, and stop it by SIGINT.

    The server gets a process group of its own: Ctrl-C reaches this process alone, which then stops the server.

    Raises:
        MoodstreamError: the server did not start; the text is what it said.
    """
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server",
        "--port",
        "0",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stderr is not None
    said = asyncio.create_task(server.stderr.read())
    try:
        yield LocalServer(await _address(server, said), server)
    finally:
        await _stop(server)
        await said


async def _address(server: asyncio.subprocess.Process, said: asyncio.Task[bytes]) -> str:
    assert server.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            line = (await server.stdout.readline()).decode()
    except TimeoutError:
        raise MoodstreamError(grpc.StatusCode.UNAVAILABLE, f"the server did not start in {_START_S:g} s") from None
    if not line.startswith(_READY):
        errors = [text for line in (await said).decode(errors="replace").splitlines() if (text := line.strip())]
        message = errors[-1] if errors else f"the server ended with {await server.wait()}"
        raise MoodstreamError(grpc.StatusCode.UNAVAILABLE, message)
    return line.removeprefix(_READY).split(",")[0]


async def _stop(server: asyncio.subprocess.Process) -> None:
    if server.returncode is not None:
        return
    server.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(server.wait(), _STOP_S)
    except TimeoutError:
        server.kill()
        await server.wait()
