"""Starts and stops a server of our own, and measures what processes use. It knows the server only as a command."""

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TextIO

import grpc
import psutil
from grpc_health.v1 import health_pb2

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 20.0
_MB: Final = 1_000_000
_POLL_S: Final = 0.1
_SAMPLE_S: Final = 0.5
_LIST_S: Final = 2.0


class ServerError(Exception):
    """The server did not start, or did not stop in order."""


class ProcessTree:
    """A process and its children, now and then: their CPU time and their memory.

    CPU time of a child that has ended since the last look is kept as it was then.
    """

    def __init__(self, pid: int, *, children: bool = True) -> None:
        """Raises psutil.NoSuchProcess when there is no such process."""
        self._root = psutil.Process(pid)
        self._has_children = children
        self._members: list[psutil.Process] = []
        self._listed_at = -_LIST_S
        self._cpu_s: dict[tuple[int, float], float] = {}
        self.peak_rss_mb = 0.0
        """Largest sum of resident memory seen by `look`. Pages that processes share count once for each."""

    def processes(self) -> list[psutil.Process]:
        """Return the processes that live now."""
        try:
            return [self._root, *(self._root.children(recursive=True) if self._has_children else ())]
        except psutil.NoSuchProcess:
            return []

    def _recent(self) -> list[psutil.Process]:
        """The processes, listed every few seconds only: that reads all of the machine's processes."""
        if time.monotonic() - self._listed_at >= _LIST_S:
            self._members, self._listed_at = self.processes(), time.monotonic()
        return self._members

    def look(self) -> None:
        """Take a sample."""
        rss = 0
        for process in self._recent():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    rss += process.memory_info().rss
                    self._cpu_s[(process.pid, process.create_time())] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        self.peak_rss_mb = max(self.peak_rss_mb, rss / _MB)

    @property
    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all processes ever seen."""
        return sum(self._cpu_s.values())

    def pss_mb(self) -> float | None:
        """Return the proportional memory, which counts shared pages once; None where the system doesn't tell.

        Reading it holds the processes up for some milliseconds, so not while they are measured.
        """
        total = 0
        for process in self.processes():
            try:
                total += process.memory_full_info().pss
            except (psutil.Error, AttributeError):
                return None
        return total / _MB

    async def watch(self) -> None:
        """Take samples until cancelled, in a thread, so that the load is not held up."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_SAMPLE_S)


@dataclass(frozen=True)
class SpawnedServer:
    """A server that runs for the length of `spawned_server`."""

    target: str
    tree: ProcessTree
    started_ns: int
    """Monotonic time at which the process was started."""
    ready_s: float
    """Seconds from then until its health service said SERVING."""


@asynccontextmanager
async def spawned_server(arguments: Sequence[str] = ()) -> AsyncIterator[SpawnedServer]:
    """Run `python -m server` on a free port of the loopback and stop it by SIGINT, as a terminal does.

    Raises:
        ServerError: it did not get ready, or it did not stop in order: another exit code than 0, processes left behind.
    """
    target = f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "server", "--port", target.rpartition(":")[2], *arguments]
    with tempfile.TemporaryFile("w+") as log:
        started_ns = time.monotonic_ns()
        # A session of its own: Ctrl-C in the terminal is for us, and we stop the server.
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, start_new_session=True)
        tree = ProcessTree(process.pid)
        try:
            await _until_serving(target, process, log)
            yield SpawnedServer(target, tree, started_ns, (time.monotonic_ns() - started_ns) / 1e9)
        finally:
            failure = await asyncio.shield(_stop(process, tree, log))
        if failure:
            raise ServerError(failure)


async def _until_serving(target: str, process: asyncio.subprocess.Process, log: TextIO) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    async with grpc.aio.insecure_channel(target, options=(("grpc.max_reconnect_backoff_ms", 200),)) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        while time.monotonic() < deadline:
            if process.returncode is not None:
                raise ServerError(f"the server ended with code {process.returncode}: {_last_lines(log)}")
            with contextlib.suppress(grpc.aio.AioRpcError):
                response = await check(health_pb2.HealthCheckRequest(), timeout=1.0)
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(_POLL_S)
    raise ServerError(f"the server was not ready within {START_TIMEOUT_S:g} s: {_last_lines(log)}")


async def _stop(process: asyncio.subprocess.Process, tree: ProcessTree, log: TextIO) -> str:
    """Stop the server and return what went wrong, or nothing."""
    family = tree.processes()
    if process.returncode is not None:
        return f"the server had ended with code {process.returncode}: {_last_lines(log)}"
    process.send_signal(signal.SIGINT)
    try:
        code = await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        _kill(family)
        await process.wait()
        return f"the server did not stop within {STOP_TIMEOUT_S:g} s of SIGINT"
    left = [member for member in family if member.pid != process.pid and member.is_running()]
    if left:
        _kill(left)
        return f"the server left {len(left)} processes behind"
    return "" if code == 0 else f"the server stopped with code {code}: {_last_lines(log)}"


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _last_lines(log: TextIO) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it wrote nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
