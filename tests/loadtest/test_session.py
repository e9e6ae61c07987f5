"""The recording of one session, against a server that answers as scripted."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from moodstream.v1 import service_pb2_grpc
from moodstream.v1.media_pb2 import MODALITY_AUDIO
from moodstream.v1.result_pb2 import (
    MODALITY_STATUS_DROPPED,
    MODALITY_STATUS_LATE,
    SCOPE_UTTERANCE,
    SCOPE_WINDOW,
    ModalityResult,
    SentimentResult,
)
from moodstream.v1.session_pb2 import ModalityTotals, SessionClosed, SessionStarted, StreamSentimentResponse

from client.builtin import builtin_clip
from client.durations import to_duration
from loadtest.schedule import Schedule
from loadtest.session import run_session

HALF_S = 500_000_000


class Servicer(service_pb2_grpc.SentimentServiceServicer):
    """Answers each window of audio at once; `mode` says what goes wrong."""

    def __init__(self) -> None:
        self.mode = ""
        self.kinds: list[str] = []

    async def StreamSentiment(self, request_iterator, context):  # noqa: N802
        yield StreamSentimentResponse(started=SessionStarted())
        heard = 0
        async for request in request_iterator:
            kind = request.WhichOneof("request")
            self.kinds.append(kind)
            if kind == "audio":
                heard += len(request.audio.data) // 2
                if heard % 8000 == 0:
                    for answer in self.window(heard // 8000 - 1):
                        yield StreamSentimentResponse(result=answer)
            elif kind == "close" and self.mode != "no close":
                totals = [ModalityTotals(modality=MODALITY_AUDIO, received=10, used=9, late=1)]
                yield StreamSentimentResponse(closed=SessionClosed(totals=totals))
            elif kind == "text" and self.mode == "abort":
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")

    def window(self, number):
        end = to_duration((number + 1) * HALF_S)
        statuses = (MODALITY_STATUS_LATE, MODALITY_STATUS_DROPPED)
        modalities = [ModalityResult(modality=MODALITY_AUDIO, status=status) for status in statuses]
        yield SentimentResult(scope=SCOPE_WINDOW, index=number, end_offset=end, sentiment=0.5)
        if not (self.mode == "missing" and number == 0):
            yield SentimentResult(
                scope=SCOPE_WINDOW, index=number, revision=1, is_final=True, end_offset=end, modalities=modalities
            )
        yield SentimentResult(scope=SCOPE_UTTERANCE, end_offset=end, is_final=True)

    async def AnalyzeClip(self, request_iterator, context):  # noqa: N802
        raise NotImplementedError

    async def GetServerInfo(self, request, context):  # noqa: N802
        raise NotImplementedError


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, Servicer]]:
    servicer = Servicer()
    grpc_server = grpc.aio.server()
    service_pb2_grpc.add_SentimentServiceServicer_to_server(servicer, grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    yield f"127.0.0.1:{port}", servicer
    await grpc_server.stop(None)


async def run(target: str):
    return await run_session(target, None, Schedule(builtin_clip(), 1.0), time.monotonic_ns() + HALF_S)


async def test_windows_and_messages_are_counted(server):
    target, servicer = server
    record = await run(target)
    assert record.errors == []
    assert (record.expected_windows, record.final_windows, record.missing_windows) == (2, 2, 0)
    assert (record.first.count, record.final.count) == (2, 2)
    assert record.windows_without_data == 2
    assert (record.late_modalities, record.dropped_modalities) == (2, 2)
    assert record.messages["sent"] == sum(kind in ("audio", "video", "text") for kind in servicer.kinds)
    assert (record.messages["received"], record.messages["late"]) == (10, 1)
    assert servicer.kinds[0] == "config"
    assert servicer.kinds[-1] == "close"


async def test_latency_counts_from_the_intended_time_even_when_the_generator_is_held_up(server):
    target, _ = server
    task = asyncio.create_task(run_session(target, None, Schedule(builtin_clip(), 1.0), time.monotonic_ns() + HALF_S))
    await asyncio.sleep(0.8)
    time.sleep(0.5)  # noqa: ASYNC251  the loop stands still over the first window's end, and the load must own up to it
    record = await task
    assert record.send_lag.max_ms() >= 400
    assert record.first.max_ms() >= 250


async def test_a_missing_window_is_noticed(server):
    target, servicer = server
    servicer.mode = "missing"
    record = await run(target)
    assert record.missing_windows == 1


async def test_a_refusal_is_an_error_of_the_record(server):
    target, servicer = server
    servicer.mode = "abort"
    record = await run(target)
    assert record.errors == ["RESOURCE_EXHAUSTED: too many"]


async def test_a_stream_that_is_not_closed_is_an_error(server):
    target, servicer = server
    servicer.mode = "no close"
    record = await run(target)
    assert record.errors == ["the server ended the stream without closing the session"]


async def test_nobody_there():
    record = await run("127.0.0.1:1")
    assert len(record.errors) == 1
    assert record.errors[0].startswith("UNAVAILABLE")
    assert record.missing_windows == 2
