"""Models and servers that die during a stream: the stream survives, says what was missing, and is right again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import media_pb2, result_pb2, session_pb2
from moodstream.v1.session_pb2 import StreamSentimentRequest as Request

from server.app import Running, running_server
from server.inference.triton_engine import TritonEngine
from tests.server.triton.processes import tritons_at

RATE = 16_000
HOP_MS = 500
CONFIG = session_pb2.SessionConfig(
    audio=media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=RATE)
)


@pytest.fixture
async def doomed(settings_for) -> AsyncIterator[Running]:
    """A server of its own, since parts of it are killed."""
    async with running_server(settings_for("triton")) as running:
        yield running


def audio(number: int) -> Request:
    start = Duration()
    start.FromMilliseconds(number * HOP_MS)
    samples = np.random.default_rng(number).integers(-5000, 5000, RATE * HOP_MS // 1000).astype("<i2")
    return Request(audio=media_pb2.AudioChunk(sequence=number, start_offset=start, data=samples.tobytes()))


def processes_with(running: Running, word: str) -> list[psutil.Process]:
    """Return the server's Triton and its stubs whose command line has a word; other tests' run beside them."""
    engine = running.front.engine
    assert isinstance(engine, TritonEngine)
    (triton,) = tritons_at(engine.url)
    return [one for one in (triton, *triton.children(recursive=True)) if any(word in part for part in one.cmdline())]


async def run(stub, hops: int, after: int, disturb: Callable[[], None]) -> list[session_pb2.StreamSentimentResponse]:
    """Send `hops` half seconds of audio, one after the answer to the one before; do something after some of them."""
    call = stub.StreamSentiment()
    await call.write(Request(config=CONFIG))
    responses = [await call.read()]
    for number in range(hops):
        if number == after:
            disturb()
        await call.write(audio(number))
        while not (responses[-1].HasField("result") and responses[-1].result.index == number):
            responses.append(await call.read())
        if number > after:
            await asyncio.sleep(0.1)
    await call.write(Request(close=session_pb2.CloseSession()))
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


def windows(responses) -> list[result_pb2.SentimentResult]:
    found = [response.result for response in responses if response.HasField("result")]
    return [one for one in found if one.scope == result_pb2.SCOPE_WINDOW]


@pytest.mark.parametrize("victim", ["audio_encoder", "tritonserver"])
async def test_a_killed_process_is_survived(doomed, call, victim):
    stub = call(doomed).stub
    expected = windows(await run(stub, hops=40, after=99, disturb=lambda: None))

    def kill() -> None:
        victims = processes_with(doomed, victim)
        assert victims
        for process in victims:
            os.kill(process.pid, signal.SIGKILL)

    responses = await run(stub, hops=40, after=6, disturb=kill)
    found = windows(responses)
    assert [window.index for window in found] == list(range(40))
    # Nothing was lost: the last windows, whose pieces were all sent after the models had come back, are as they were.
    for window, right in zip(found[-8:], expected[-8:], strict=True):
        assert window.modalities[0].status == result_pb2.MODALITY_STATUS_USED
        assert window.sentiment == pytest.approx(right.sentiment, abs=1e-3)
    # Meanwhile a window is either right or says what was missing.
    for window, right in zip(found, expected, strict=True):
        complete = window.modalities[0].coverage == right.modalities[0].coverage
        if window.HasField("sentiment") and complete:
            assert window.sentiment == pytest.approx(right.sentiment, abs=1e-3)
        else:
            assert window.modalities[0].coverage < right.modalities[0].coverage or not window.HasField("sentiment")
    closed = responses[-1].closed
    assert closed.totals[0].received == 40
    assert closed.totals[0].used + closed.totals[0].dropped == 40


async def test_the_client_is_told_of_an_outage_and_its_end(doomed, call):
    def kill() -> None:
        for process in processes_with(doomed, "audio_encoder"):
            os.kill(process.pid, signal.SIGKILL)

    responses = await run(call(doomed).stub, hops=30, after=3, disturb=kill)
    events = [response.event for response in responses if response.HasField("event")]
    # Calls that were under way can fail after the first one that succeeds again: outages may come in several pieces.
    away, back = session_pb2.EVENT_TYPE_MODEL_UNAVAILABLE, session_pb2.EVENT_TYPE_MODEL_RECOVERED
    assert [event.type for event in events] == [away, back] * (len(events) // 2)
    assert {event.model for event in events} == {"audio_encoder"}


async def rest_of(call) -> list[session_pb2.StreamSentimentResponse]:
    responses = []
    async with asyncio.timeout(60):
        while (response := await call.read()) is not grpc.aio.EOF:
            responses.append(response)
    return responses


async def test_with_triton_gone_for_good_clients_are_told_at_once_and_sessions_still_close(settings_for, call, wheel):
    triton = await TritonEngine.start_embedded(settings_for("triton").repository)
    async with running_server(settings_for("auto", triton_url=triton.url)) as running:
        stub = call(running).stub
        sessions = [stub.StreamSentiment() for _ in range(2)]
        for session in sessions:
            await session.write(Request(config=CONFIG))
            await session.write(audio(0))
            responses = [await session.read() for _ in range(2)]
            assert responses[1].result.HasField("sentiment")
        await triton.close()

        for session in sessions:
            for number in range(1, 4):
                await session.write(audio(number))
        # Windows are stuck, notices are not.
        first = [await session.read() for session in sessions]
        while any(one.result.index == 0 and one.HasField("result") for one in first):
            first = [await session.read() for session in sessions]
        assert [one.event.type for one in first] == [session_pb2.EVENT_TYPE_MODEL_UNAVAILABLE] * 2

        await sessions[0].write(Request(close=session_pb2.CloseSession()))
        closed = (await rest_of(sessions[0]))[-1].closed
        assert closed.reason == session_pb2.CLOSE_REASON_CLIENT
        assert (closed.totals[0].received, closed.totals[0].used + closed.totals[0].dropped) == (4, 4)
        running.front.drain()
        drained = await rest_of(sessions[1])
        assert drained[-1].closed.reason == session_pb2.CLOSE_REASON_SERVER_SHUTDOWN
        assert session_pb2.EVENT_TYPE_DRAINING in [one.event.type for one in drained]
        assert [one.result.index for one in drained if one.HasField("result") and one.result.is_final] == [1, 2, 3]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.StreamSentiment(iter([Request(config=CONFIG)])).read()
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
