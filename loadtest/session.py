"""One session of the load: sends on time whatever the server does (open loop), and records what comes back.

A slow server makes latencies long, never the load small: every latency counts from the time at which the message was
meant to be sent, so that a server that holds the generator back can't hide it (coordinated omission).
"""

import asyncio
import time
from typing import Final, TypeAlias

import grpc
from moodstream.v1.result_pb2 import (
    MODALITY_STATUS_DROPPED,
    MODALITY_STATUS_LATE,
    SCOPE_WINDOW,
    SentimentResult,
)
from moodstream.v1.session_pb2 import SessionClosed, StreamSentimentResponse

from client.api import MAX_MESSAGE_BYTES, token_metadata
from client.durations import NS_PER_S, to_ns
from client.errors import StatusWatch
from client.pacing import Pacer
from loadtest.metrics import Record
from loadtest.schedule import CLOSE, Schedule

METHOD: Final = "/moodstream.v1.SentimentService/StreamSentiment"
LEAD_NS: Final = NS_PER_S // 2
"""A session is opened so long before its media starts, so that connecting is not part of the first latency."""
DRAIN_S: Final = 30.0
"""How long after a session's end its last results may take."""

OpenStream: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, StreamSentimentResponse]"
Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, StreamSentimentResponse]"

_CHANNEL_OPTIONS: Final = (
    # A connection of its own for every session, as separate clients have.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


async def run_session(target: str, token: str | None, schedule: Schedule, start_ns: int) -> Record:
    """Run one session whose media starts at `start_ns` of the monotonic clock; errors are recorded, not raised."""
    record = Record(sessions=1, expected_windows=schedule.windows)
    pacer = Pacer()
    pacer.start(start_ns)
    await pacer.wait(-LEAD_NS)
    timeout_s = (LEAD_NS + schedule.duration_ns) / NS_PER_S + DRAIN_S
    async with grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS) as channel:
        open_stream: OpenStream = channel.stream_stream(METHOD, None, StreamSentimentResponse.FromString)
        call: Call = open_stream(timeout=timeout_s, metadata=token_metadata(token))
        status = StatusWatch(call)
        sender = asyncio.create_task(_send(call, schedule, pacer, record))
        try:
            if not await _receive(call, schedule, start_ns, record):
                record.errors.append("the server ended the stream without closing the session")
        except grpc.aio.AioRpcError as error:
            record.errors.append(str(await status.error(error, target, started=True)))
        finally:
            call.cancel()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
    return record


async def _send(call: Call, schedule: Schedule, pacer: Pacer, record: Record) -> None:
    """Write everything on time; ends quietly when the call has ended, as the reader learns why."""
    try:
        await call.write(schedule.config)
        for send in schedule.sends():
            lag_ns = await pacer.wait(send.due_ns)
            begun_ns = time.monotonic_ns()
            await call.write(send.data)
            record.messages["sent"] += send.is_media
            record.send_lag.record(lag_ns)
            record.write.record(time.monotonic_ns() - begun_ns)
        await pacer.wait(schedule.duration_ns)
        await call.write(CLOSE)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return


async def _receive(call: Call, schedule: Schedule, start_ns: int, record: Record) -> bool:
    """Record every answer; returns whether the session was closed in order."""
    is_closed = False
    async for response in call:
        arrived_ns = time.monotonic_ns()
        kind = response.WhichOneof("response")
        if kind == "result" and response.result.scope == SCOPE_WINDOW:
            intended_ns = start_ns + schedule.sent_ns(to_ns(response.result.end_offset))
            _record_window(response.result, arrived_ns - intended_ns, record)
        elif kind == "closed":
            is_closed = True
            _record_totals(response.closed, record)
    return is_closed


def _record_window(result: SentimentResult, latency_ns: int, record: Record) -> None:
    if result.revision == 0:
        record.first.record(latency_ns)
    if result.is_final:
        record.final.record(latency_ns)
        record.final_windows += 1
        record.windows_without_data += not result.HasField("sentiment")
        for modality in result.modalities:
            record.late_modalities += modality.status == MODALITY_STATUS_LATE
            record.dropped_modalities += modality.status == MODALITY_STATUS_DROPPED


def _record_totals(closed: SessionClosed, record: Record) -> None:
    for total in closed.totals:
        for name in ("received", "used", "skipped", "late", "dropped", "rejected"):
            record.messages[name] += getattr(total, name)
