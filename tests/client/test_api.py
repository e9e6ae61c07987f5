import asyncio
import socket
from contextlib import aclosing

import grpc
import pytest
from moodstream.v1.media_pb2 import AudioChunk, TextConfig, TextSpan
from moodstream.v1.result_pb2 import SCOPE_WINDOW, SentimentResult
from moodstream.v1.session_pb2 import (
    CLOSE_REASON_CLIENT,
    ENGINE_ONNXRUNTIME,
    SessionClosed,
    SessionConfig,
    SessionStarted,
    StreamSentimentResponse,
)

from client import MediaError, MoodstreamClient, MoodstreamError, Pacer, ServerUnreachableError, StreamEndedError
from client.builtin import builtin_clip
from client.clip import stream_request
from client.transcript import Transcript, Word

CONFIG = SessionConfig(text=TextConfig())


def started():
    return StreamSentimentResponse(started=SessionStarted(session_id="s", engine=ENGINE_ONNXRUNTIME))


def result(number):
    return StreamSentimentResponse(result=SentimentResult(scope=SCOPE_WINDOW, index=number, is_final=True))


def closed():
    return StreamSentimentResponse(closed=SessionClosed(reason=CLOSE_REASON_CLIENT))


async def words(count):
    for sequence in range(count):
        yield TextSpan(sequence=sequence, text="word")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_session_is_configuration_media_close(serve):
    seen = []

    async def script(requests, context):
        async for request in requests:
            seen.append(request.WhichOneof("request"))
            if seen[-1] == "config":
                assert request.config == SessionConfig(text=TextConfig(), resumable=True)
                yield started()
            elif seen[-1] == "close":
                yield closed()
            else:
                yield result(request.text.sequence)

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        answers = [message async for message in client.stream(words(3), CONFIG)]
    assert seen == ["config", "text", "text", "text", "close"]
    assert [type(answer) for answer in answers] == [SessionStarted, *[SentimentResult] * 3, SessionClosed]


async def test_a_clip_brings_its_configuration(serve):
    kinds = []

    async def script(requests, context):
        async for request in requests:
            kinds.append(request.WhichOneof("request"))
            if kinds[-1] == "config":
                yield started()
        yield closed()

    target, _ = await serve(script)
    clip = builtin_clip()
    async with MoodstreamClient(target) as client:
        answers = [message async for message in client.stream(clip, pacer=Pacer(fast=True))]
    assert len(answers) == 2
    assert kinds == ["config", *(stream_request(t.media).WhichOneof("request") for t in clip.open()), "close"]


async def test_media_is_taken_only_after_the_session_was_accepted(serve):
    async def script(requests, context):
        await anext(requests)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "1 session is the limit")
        yield

    taken = []

    async def source():
        taken.append(1)
        yield TextSpan()

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        with pytest.raises(MoodstreamError, match="RESOURCE_EXHAUSTED: 1 session is the limit") as caught:
            await anext(client.stream(source(), CONFIG))
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert taken == []


async def test_nobody_listens():
    async with MoodstreamClient(f"127.0.0.1:{closed_port()}") as client:
        with pytest.raises(ServerUnreachableError, match="no server answers at"):
            await client.info()
        with pytest.raises(ServerUnreachableError):
            await client.analyze(b"clip")
        with pytest.raises(ServerUnreachableError) as caught:
            await anext(client.stream(words(1), CONFIG))
    assert "\n" not in str(caught.value)


async def test_a_stream_that_ends_without_closing_the_session(serve):
    async def script(requests, context):
        yield started()
        await anext(requests)

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        with pytest.raises(StreamEndedError, match="without closing"):
            [message async for message in client.stream(words(1), CONFIG)]


async def test_a_connection_that_is_lost(serve):
    async def script(requests, context):
        yield started()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        with pytest.raises(StreamEndedError, match=r"was lost \(Socket closed\)"):
            [message async for message in client.stream(words(1), CONFIG)]


@pytest.mark.parametrize("attempt", range(10))
async def test_the_servers_status_is_told_although_a_write_fails_with_it(serve, attempt):
    """grpc.aio would say INTERNAL in some of these races."""

    async def script(requests, context):
        yield started()
        async for request in requests:
            if request.audio.sequence == 20 + attempt:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "enough")

    async def flood():
        for sequence in range(1000):
            yield AudioChunk(sequence=sequence, data=bytes(50_000))

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        with pytest.raises(MoodstreamError, match="PERMISSION_DENIED: enough"):
            [message async for message in client.stream(flood(), CONFIG)]


async def test_a_session_that_the_server_closed_ends_well_although_media_was_still_written(serve):
    async def script(requests, context):
        yield started()
        for _ in range(20):
            await anext(requests)
        yield closed()

    async def flood():
        for sequence in range(1000):
            yield AudioChunk(sequence=sequence, data=bytes(50_000))

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        answers = [message async for message in client.stream(flood(), CONFIG)]
    assert [type(answer) for answer in answers] == [SessionStarted, SessionClosed]


async def test_what_the_source_raises_reaches_the_caller_and_cancels_the_session(serve):
    cancelled = asyncio.Event()

    async def script(requests, context):
        context.add_done_callback(lambda _: cancelled.set())
        yield started()
        async for _ in requests:
            pass

    async def source():
        yield TextSpan(text="one")
        raise MediaError("the tape broke")

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        with pytest.raises(MediaError, match="the tape broke"):
            [message async for message in client.stream(source(), CONFIG)]
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_leaving_the_loop_cancels_the_session_and_closes_the_source(serve):
    cancelled, closed_source = asyncio.Event(), asyncio.Event()

    async def script(requests, context):
        context.add_done_callback(lambda _: cancelled.set())
        yield started()
        async for _ in requests:
            yield result(0)

    async def endless():
        try:
            while True:
                yield TextSpan(text="more")
                await asyncio.sleep(0.001)
        finally:
            closed_source.set()

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        async with aclosing(client.stream(endless(), CONFIG)) as messages:
            async for message in messages:
                if isinstance(message, SentimentResult):
                    break
        assert closed_source.is_set()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_cancelling_the_task_is_passed_on(serve):
    async def script(requests, context):
        yield started()
        await asyncio.sleep(60)

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        running = asyncio.Event()

        async def consume():
            async for _ in client.stream(words(10_000), CONFIG):
                running.set()

        task = asyncio.create_task(consume())
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert task.cancelled()


async def test_a_slow_server_holds_the_source_back(serve):
    release = asyncio.Event()
    sent = 0

    async def script(requests, context):
        await anext(requests)
        yield started()
        await release.wait()
        async for _ in requests:
            pass
        yield closed()

    async def flood():
        nonlocal sent
        for sequence in range(400):
            sent += 1
            yield AudioChunk(sequence=sequence, data=bytes(100_000))

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        messages = client.stream(flood(), CONFIG)
        await anext(messages)
        before = -1
        while before != sent or sent == 0:  # until nothing more is taken: buffers are full
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 400
        release.set()
        assert [type(message) async for message in messages] == [SessionClosed]
    assert sent == 400


async def test_a_source_without_configuration_is_an_error():
    async with MoodstreamClient("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="needs a config"):
            await anext(client.stream(words(1)))


async def test_media_of_another_type_is_an_error(serve):
    async def script(requests, context):
        yield started()
        async for _ in requests:
            pass

    async def source():
        yield "hello"

    target, _ = await serve(script)
    async with MoodstreamClient(target) as client:
        with pytest.raises(TypeError, match="not str"):
            [message async for message in client.stream(source(), CONFIG)]


async def never(requests, context):
    raise AssertionError("no session expected")
    yield


async def test_a_file_is_sent_in_pieces_after_its_words(serve, tmp_path):
    target, servicer = await serve(never)
    data = bytes(range(256)) * 3000
    path = tmp_path / "clip.bin"
    path.write_bytes(data)
    transcript = Transcript((Word(0, 500_000_000, "hi"),), (600_000_000,))
    async with MoodstreamClient(target) as client:
        response = await client.analyze(path, transcript)
    config = servicer.clip[0].config.file
    assert [span.text for span in config.transcript] == ["hi"]
    assert config.utterance_ends[0].nanos == 600_000_000
    assert b"".join(request.data for request in servicer.clip[1:]) == data
    assert len(servicer.clip) > 3
    assert len(response.windows) == 1


async def test_a_clip_is_sent_as_messages(serve):
    target, servicer = await serve(never)
    clip = builtin_clip()
    async with MoodstreamClient(target) as client:
        await client.analyze(clip)
    assert servicer.clip[0].config.session == clip.config
    assert len(servicer.clip) == 1 + len(list(clip.open()))


async def test_a_refused_clip(serve):
    target, _ = await serve(never)
    async with MoodstreamClient(target) as client:
        with pytest.raises(MoodstreamError, match=r"INVALID_ARGUMENT: config\.file: not a media file"):
            await client.analyze(b"refuse" + bytes(20_000_000))


async def test_a_missing_file():
    async with MoodstreamClient("127.0.0.1:1") as client:
        with pytest.raises(MediaError, match="no-such-file can't be read"):
            await client.analyze("no-such-file")


async def test_the_token_goes_with_every_call(serve):
    target, _ = await serve(never)
    async with MoodstreamClient(target, token="secret") as client:
        assert (await client.info()).version == "Bearer secret"
    async with MoodstreamClient(target) as client:
        assert (await client.info()).version == ""
