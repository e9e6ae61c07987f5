"""Kills processes of a server of our own during a live stream, and measures how long it takes to be right again.

What is right is known from the same stream, sent before to the same server without a disturbance: a window is right
when its statuses are those and its sentiment is within a thousandth.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import grpc
import psutil
from moodstream.v1.result_pb2 import SCOPE_WINDOW, ModalityStatus, SentimentResult
from moodstream.v1.session_pb2 import StreamSentimentResponse
from rich import box
from rich.table import Table

from client.durations import NS_PER_S
from client.pacing import Pacer
from loadtest.processes import SpawnedServer, spawned_server
from loadtest.schedule import CLOSE, Schedule
from loadtest.session import METHOD, Call, OpenStream

TOLERANCE: Final = 1e-3
VICTIMS: Final = {"stub": "the stub process of audio_encoder", "triton": "tritonserver"}
KILL_AFTER_NS: Final = 5 * NS_PER_S
"""Session time at which a process is killed."""


@dataclass(frozen=True)
class Arrival:
    """A final window, and when it came on the monotonic clock."""

    at_ns: int
    result: SentimentResult


@dataclass(frozen=True)
class Recovery:
    """What a kill came to."""

    victim: str
    seconds: float | None
    """From the kill to the first window from which on all are right; None when the last one is not."""
    windows: int
    expected_windows: int
    wrong_windows: int
    said: tuple[str, ...]
    """Statuses, other than those of the undisturbed stream, that the windows in between gave."""


async def measure(schedule: Schedule, arguments: Sequence[str] = ()) -> tuple[list[Recovery], float]:
    """Start a server, kill each victim once during a stream of its own, and stop the server.

    Returns:
        What each kill came to, and how many seconds the server took to stop.

    Raises:
        MoodstreamError, ServerError: the server did not start, or did not stop in order.
        grpc.aio.AioRpcError: a stream did not survive.
    """
    async with spawned_server(arguments) as server:
        right = [arrival.result for arrival in await _stream(server, schedule, Pacer(fast=True), None)]
        recoveries = [await _disturbed(server, schedule, right, victim) for victim in VICTIMS]
        stopping = time.monotonic()
    return recoveries, time.monotonic() - stopping


async def _disturbed(
    server: SpawnedServer, schedule: Schedule, right: Sequence[SentimentResult], victim: str
) -> Recovery:
    process = _victim(server, victim)
    killed_ns: list[int] = []

    def kill() -> None:
        process.kill()
        killed_ns.append(time.monotonic_ns())

    arrivals = await _stream(server, schedule, Pacer(), kill)
    return judge(victim, killed_ns[0], arrivals, right)


def judge(victim: str, killed_ns: int, arrivals: Sequence[Arrival], right: Sequence[SentimentResult]) -> Recovery:
    """Compare a disturbed stream with the undisturbed one."""
    pairs = list(zip(arrivals, right, strict=False))
    wrong = [number for number, (arrival, expected) in enumerate(pairs) if not _same(arrival.result, expected)]
    after = [arrival.at_ns for arrival in arrivals[wrong[-1] + 1 if wrong else 0 :] if arrival.at_ns >= killed_ns]
    said = {
        ModalityStatus.Name(one.status).removeprefix("MODALITY_STATUS_").lower()
        for number in wrong
        for one, expected in zip(pairs[number][0].result.modalities, pairs[number][1].modalities, strict=True)
        if one.status != expected.status
    }
    return Recovery(
        VICTIMS[victim],
        (after[0] - killed_ns) / NS_PER_S if after else None,
        len(arrivals),
        len(right),
        len(wrong),
        tuple(sorted(said)),
    )


def _same(result: SentimentResult, expected: SentimentResult) -> bool:
    statuses = [one.status for one in result.modalities] == [one.status for one in expected.modalities]
    return result.index == expected.index and statuses and abs(result.sentiment - expected.sentiment) <= TOLERANCE


def _victim(server: SpawnedServer, victim: str) -> psutil.Process:
    for process in server.tree.processes():
        command = process.cmdline()
        is_stub = "/audio_encoder/" in " ".join(command[1:2])
        if is_stub if victim == "stub" else command[0].endswith("/tritonserver"):
            return process
    raise LookupError(f"the server has no process that is {VICTIMS[victim]}: is it on the embedded Triton?")


async def _stream(
    server: SpawnedServer, schedule: Schedule, pacer: Pacer, disturb: Callable[[], None] | None
) -> list[Arrival]:
    """Send the schedule and return the final windows; call `disturb` on the way."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        open_stream: OpenStream = channel.stream_stream(METHOD, None, StreamSentimentResponse.FromString)
        call = open_stream()
        sender = asyncio.create_task(_send(call, schedule, pacer, disturb))
        arrivals = [
            Arrival(time.monotonic_ns(), response.result)
            async for response in call
            if response.HasField("result") and response.result.scope == SCOPE_WINDOW and response.result.is_final
        ]
        await sender
    return arrivals


async def _send(call: Call, schedule: Schedule, pacer: Pacer, disturb: Callable[[], None] | None) -> None:
    await call.write(schedule.config)
    for send in schedule.sends():
        await pacer.wait(send.due_ns)
        if disturb is not None and send.due_ns >= KILL_AFTER_NS:
            disturb()
            disturb = None
        await call.write(send.data)
    await call.write(CLOSE)
    await call.done_writing()


def dumps(recoveries: Sequence[Recovery], stop_s: float) -> str:
    """Return the report as JSON."""
    return json.dumps({"recoveries": [asdict(one) for one in recoveries], "stop_s": round(stop_s, 2)}, indent=2)


def render_recoveries(recoveries: Sequence[Recovery], stop_s: float) -> Table:
    """Return the report as a table."""
    table = Table("killed", "right again after", "windows", "not right in between", "which said", box=box.SIMPLE)
    for one in recoveries:
        after = "never" if one.seconds is None else f"{one.seconds:.1f} s"
        windows = f"{one.windows} of {one.expected_windows}"
        table.add_row(one.victim, after, windows, str(one.wrong_windows), ", ".join(one.said) or "-")
    table.caption = f"the server stopped in {stop_s:.1f} s"
    return table
