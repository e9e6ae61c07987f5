"""Runs a load test: many sessions on one event loop, with an eye on the processes that serve them."""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from moodstream.v1.result_pb2 import SentimentResult

from client.api import MoodstreamClient
from client.builtin import builtin_clip
from client.durations import NS_PER_S
from client.names import engine_name
from client.pacing import Pacer
from loadtest.metrics import Record
from loadtest.processes import ProcessTree, SpawnedServer, spawned_server
from loadtest.report import Report, Start, Usage
from loadtest.schedule import Schedule
from loadtest.session import LEAD_NS, run_session


@dataclass(frozen=True)
class Load:
    """How much is asked of the server."""

    sessions: int
    stagger_s: float = 1.0
    """Time over which the sessions start."""


@dataclass(frozen=True)
class Server:
    """Which server is tested."""

    target: str
    token: str | None = None
    pid: int | None = None
    """Its process, where it runs on this machine, to measure it."""


async def run_spawned(
    arguments: Sequence[str],
    token: str | None,
    schedules: Sequence[Schedule],
    load: Load,
    progress: Callable[[float], None],
) -> Report:
    """Start a server, run the load on it and stop it.

    Raises:
        ServerError: the server is not healthy, or did not stop in order.
        MoodstreamError: it did not start, or gives no result at all.
    """
    async with spawned_server(arguments) as server, _watched(server.tree):
        start = Start(server.ready_s, await _first_result_s(server, token))
        return await _run(Server(server.target, token), server.tree, start, schedules, load, progress)


async def run_against(
    server: Server, schedules: Sequence[Schedule], load: Load, progress: Callable[[float], None]
) -> Report:
    """Run the load on a server that runs already; raises MoodstreamError when none answers."""
    if server.pid is None:
        return await _run(server, None, None, schedules, load, progress)
    tree = ProcessTree(server.pid)
    async with _watched(tree):
        return await _run(server, tree, None, schedules, load, progress)


async def _run(
    server: Server,
    tree: ProcessTree | None,
    start: Start | None,
    schedules: Sequence[Schedule],
    load: Load,
    progress: Callable[[float], None],
) -> Report:
    async with MoodstreamClient(server.target, server.token) as client:
        engine = engine_name((await client.info()).engine)
    seconds = schedules[0].duration_ns / NS_PER_S
    own = ProcessTree(os.getpid(), children=False)
    # A collection over the whole heap would stop every session for tens of milliseconds.
    gc.collect()
    gc.freeze()
    async with _watched(own):
        cpu_before_s, own_before_s = _cpu_s(tree), _cpu_s(own)
        record = await _run_sessions(server, schedules, load, progress)
        cpu_s, own_s = _cpu_s(tree) - cpu_before_s, _cpu_s(own) - own_before_s
    session_ms = load.sessions * seconds / 1000
    usage = None if tree is None else Usage(cpu_s / session_ms, tree.peak_rss_mb, tree.pss_mb())
    names = tuple(dict.fromkeys(schedule.name for schedule in schedules))
    return Report(
        server.target, names, load.sessions, seconds, engine, record, own_s / session_ms, own.peak_rss_mb, usage, start
    )


async def _run_sessions(
    server: Server, schedules: Sequence[Schedule], load: Load, progress: Callable[[float], None]
) -> Record:
    start_ns = time.monotonic_ns() + LEAD_NS
    step_ns = int(load.stagger_s * NS_PER_S) // load.sessions
    tasks = [
        asyncio.create_task(
            run_session(server.target, server.token, schedules[number % len(schedules)], start_ns + number * step_ns)
        )
        for number in range(load.sessions)
    ]
    total = Record()
    try:
        while not all(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=1.0)
            progress((time.monotonic_ns() - start_ns) / NS_PER_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        total.add(task.result())
    return total


async def _first_result_s(server: SpawnedServer, token: str | None) -> float:
    """Return the seconds from the start of the server's process to the first result of a session."""
    async with (
        MoodstreamClient(server.target, token) as client,
        aclosing(client.stream(builtin_clip(), pacer=Pacer(fast=True))) as messages,
    ):
        async for message in messages:
            if isinstance(message, SentimentResult):
                return (time.monotonic_ns() - server.started_ns) / NS_PER_S
    raise AssertionError("a stream ends with a result or an exception")


@asynccontextmanager
async def _watched(tree: ProcessTree) -> AsyncIterator[None]:
    watcher = asyncio.create_task(tree.watch())
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


def _cpu_s(tree: ProcessTree | None) -> float:
    if tree is None:
        return 0.0
    tree.look()
    return tree.cpu_s
