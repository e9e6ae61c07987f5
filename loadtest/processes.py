"""Measures what processes use, and runs a server of our own to be measured."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import psutil
from grpc_health.v1 import health_pb2

from client.local_server import local_server

HEALTH_TIMEOUT_S: Final = 10.0
_MB: Final = 1_000_000
_SAMPLE_S: Final = 0.5
_LIST_S: Final = 2.0


class ServerError(Exception):
    """The server is not healthy, or did not stop in order."""


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
    """Run a server of our own and stop it by SIGINT, as a terminal does.

    Raises:
        MoodstreamError: it did not start.
        ServerError: it is not healthy, or it did not stop in order: another exit code than 0, processes left behind.
    """
    started_ns = time.monotonic_ns()
    async with local_server(arguments) as server:
        await _check_health(server.target)
        ready_s = (time.monotonic_ns() - started_ns) / 1e9
        tree = ProcessTree(server.process.pid)
        yield SpawnedServer(server.target, tree, started_ns, ready_s)
        family = tree.processes()
    if server.process.returncode != 0:
        raise ServerError(f"the server stopped with code {server.process.returncode}")
    left = [process for process in family if process.is_running()]
    if left:
        raise ServerError(f"the server left processes behind: {', '.join(str(process.pid) for process in left)}")


async def _check_health(target: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            response = await check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise ServerError(f"the server's health is not known: {error.details()}") from None
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        raise ServerError("the server says that it is not serving")
