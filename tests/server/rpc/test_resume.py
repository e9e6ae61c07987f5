"""Sessions whose connection is lost: nothing is lost, nothing comes twice, and nothing is kept for ever."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import pytest
from moodstream.v1 import error_pb2, media_pb2, result_pb2, session_pb2
from moodstream.v1.session_pb2 import StreamSentimentRequest as Request

from client import Clip, Media, MediaOptions, MoodstreamClient, NotResumedError, builtin_clip
from server.app import running_server
from tests.conformance.proxy import proxy_to

CONFIG = session_pb2.SessionConfig(text=media_pb2.TextConfig(), resumable=True)


def word(sequence: int) -> Request:
    span = media_pb2.TextSpan(sequence=sequence, text=f"word{sequence}")
    span.start_offset.FromMilliseconds(600 * sequence)
    span.duration.FromMilliseconds(500)
    return Request(text=span)


async def started(stub, config=CONFIG):
    call = stub.StreamSentiment()
    await call.write(Request(config=config))
    return call, (await call.read()).started


async def resumed(stub, token: str, received: int):
    call = stub.StreamSentiment()
    resume = session_pb2.ResumeSession(resume_token=token, responses_received=received)
    await call.write(Request(resume=resume))
    return call, (await call.read()).resumed


async def read_all(call) -> list[session_pb2.StreamSentimentResponse]:
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


async def gone(server) -> None:
    async with asyncio.timeout(5):
        while server.front.sessions:
            await asyncio.sleep(0.01)


async def detached(server) -> None:
    async with asyncio.timeout(5):
        while any(one.connection is not None for one in server.front.sessions.values()):
            await asyncio.sleep(0.01)


async def test_what_a_client_missed_comes_again_and_the_session_goes_on(onnx_server, call):
    stub = call(onnx_server).stub
    first, begun = await started(stub)
    assert begun.resume_token
    for number in range(4):
        await first.write(word(number))
    before = [await first.read() for _ in range(3)]
    first.cancel()
    await detached(onnx_server)

    second, again = await resumed(stub, begun.resume_token, 1)
    assert again.requests_received == 4
    assert [await second.read() for _ in range(3)] == before
    await second.write(word(4))
    await second.write(Request(close=session_pb2.CloseSession()))
    rest = await read_all(second)
    results = [one.result for one in (*before, *rest) if one.HasField("result")]
    finals = [one.index for one in results if one.is_final and one.scope == result_pb2.SCOPE_WINDOW]
    assert finals == list(range(len(finals)))
    assert len(finals) > 4
    assert len({(one.id, one.revision) for one in results}) == len(results)
    assert rest[-1].closed.totals[2].used == 5


async def test_a_newer_connection_takes_the_session_over(onnx_server, call):
    stub = call(onnx_server).stub
    old, begun = await started(stub)
    await old.write(word(0))
    new, _ = await resumed(stub, begun.resume_token, 1)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await read_all(old)
    assert error.value.code() == grpc.StatusCode.ABORTED
    await new.write(Request(close=session_pb2.CloseSession()))
    assert (await read_all(new))[-1].HasField("closed")


async def test_the_end_can_be_missed_too(onnx_server, call):
    stub = call(onnx_server).stub
    first, begun = await started(stub)
    await first.write(word(0))
    await first.write(Request(close=session_pb2.CloseSession()))
    told = await read_all(first)
    second, again = await resumed(stub, begun.resume_token, 1)
    assert again.requests_received == 2
    assert await read_all(second) == told
    assert onnx_server.front.sessions == {}


@pytest.mark.parametrize(
    ("token", "received", "code", "reason"),
    [
        ("nobody's", 0, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        ("", 0, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        (None, 99, grpc.StatusCode.OUT_OF_RANGE, "RESUME_GAP"),
    ],
)
async def test_what_can_not_be_resumed(onnx_server, call, token, received, code, reason, reason_of):
    stub = call(onnx_server).stub
    first, begun = await started(stub)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await resumed(stub, begun.resume_token if token is None else token, received)
    assert (error.value.code(), reason_of(error.value)) == (code, reason)
    first.cancel()


async def test_forgotten_responses_can_not_be_asked_for(onnx_server, call, reason_of):
    stub = call(onnx_server).stub
    first, begun = await started(stub)
    await first.write(word(0))
    await first.read()
    await first.write(Request(text=word(1).text, responses_received=2))
    await first.read()
    first.cancel()
    await detached(onnx_server)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await resumed(stub, begun.resume_token, 1)
    assert reason_of(error.value) == "RESUME_GAP"
    second, _ = await resumed(stub, begun.resume_token, 2)
    await second.write(Request(close=session_pb2.CloseSession()))
    assert (await read_all(second))[-1].HasField("closed")


async def test_a_session_is_not_kept_for_ever(settings_for, call):
    limits = {"resume_window_s": 0.2, "max_sessions": 2}
    async with running_server(settings_for("onnxruntime", limits=limits)) as running:
        stub = call(running).stub
        first, begun = await started(stub)
        first.cancel()
        await gone(running)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await resumed(stub, begun.resume_token, 1)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_who_waits_for_its_client_makes_room_for_one_that_is_there(settings_for, call, reason_of):
    async with running_server(settings_for("onnxruntime", limits={"max_sessions": 2})) as running:
        stub = call(running).stub
        lost, _ = await started(stub)
        lost.cancel()
        await detached(running)
        held = [await started(stub) for _ in range(2)]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await (await started(stub))[0].read()
        assert (error.value.code(), reason_of(error.value)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        for one, _ in held:
            one.cancel()


async def words(clip_words: list[Request]) -> AsyncIterator[Media]:
    for request in clip_words:
        yield request.text
        await asyncio.sleep(0.001)


async def test_the_client_says_when_its_session_is_gone(settings_for):
    async with (
        running_server(settings_for("onnxruntime")) as running,
        proxy_to(running.address) as proxy,
        MoodstreamClient(proxy.address) as client,
    ):

        async def run_until_forgotten() -> None:
            async for message in client.stream(words([word(number) for number in range(300)]), CONFIG):
                if isinstance(message, result_pb2.SentimentResult) and message.index == 3:
                    proxy.cut()
                    await detached(running)
                    await running.front.close()

        with pytest.raises(NotResumedError, match="can't be resumed") as error:
            await run_until_forgotten()
        assert error.value.reason == "SESSION_NOT_FOUND"


def told(messages) -> list[result_pb2.SentimentResult]:
    return [one for one in messages if isinstance(one, result_pb2.SentimentResult)]


def content(result: result_pb2.SentimentResult) -> tuple:
    return (
        result.id,
        result.revision,
        result.is_final,
        round(result.sentiment, 3),
        tuple((part.status, round(part.coverage, 4)) for part in result.modalities),
    )


@pytest.mark.parametrize("tenth", range(10))
async def test_fifty_sessions_cut_at_random_lose_and_repeat_nothing(onnx_server, tenth):
    """Five of them here: each is cut three times at random moments, of which some hit the beginning or the end."""
    clip = builtin_clip(MediaOptions(video=False))
    async with MoodstreamClient(onnx_server.address) as straight:
        expected = [one async for one in straight.stream(source_of(clip), clip.config)]
    times_resumed = 0
    async with proxy_to(onnx_server.address) as proxy:
        for number in range(5):
            dice = random.Random(10 * tenth + number)
            async with MoodstreamClient(proxy.address) as client:
                cutting = asyncio.create_task(cut_at_random(proxy, dice))
                async with aclosing(client.stream(source_of(clip), clip.config)) as messages:
                    got = [one async for one in messages]
                cutting.cancel()
                await asyncio.gather(cutting, return_exceptions=True)
            finals = [content(one) for one in told(got) if one.is_final]
            assert finals == [content(one) for one in told(expected) if one.is_final]
            assert len({(one.id, one.revision) for one in told(got)}) == len(told(got))
            assert got[-1].totals == expected[-1].totals
            assert sum(isinstance(one, session_pb2.SessionStarted) for one in got) == 1
            times_resumed += sum(isinstance(one, session_pb2.SessionResumed) for one in got)
    assert times_resumed >= 5


async def source_of(clip: Clip) -> AsyncIterator[Media]:
    """The clip at about ten times its pace, so that there are moments to cut at."""
    for number, timed in enumerate(clip.open()):
        if number % 5 == 0:
            await asyncio.sleep(0.01)
        yield timed.media


async def cut_at_random(proxy, dice: random.Random) -> None:
    for _ in range(3):
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        proxy.cut()


async def test_a_defect_of_the_session_is_no_reason_to_resume(onnx_server, call):
    first, begun = await started(call(onnx_server).stub)
    session = next(one for one in onnx_server.front.sessions.values() if one.resume_token == begun.resume_token)
    session.runner._guarded(lambda: 1 / 0)
    closed = (await first.read()).closed
    assert (closed.reason, closed.error.reason) == (session_pb2.CLOSE_REASON_ERROR, error_pb2.ERROR_REASON_INTERNAL)
    assert [one.modality for one in closed.totals] == [1, 2, 3]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first.read()
    assert error.value.code() == grpc.StatusCode.INTERNAL
