"""Bytes that are no request, sent to a whole server."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from moodstream.v1 import clip_pb2, error_pb2, media_pb2, session_pb2

from server.app import running_server
from server.settings import ServerSettings

GARBAGE = b"\xff\xff\xff"
SERVICE = "/moodstream.v1.SentimentService"


@pytest.fixture(scope="module")
async def channel(repository) -> AsyncIterator[grpc.aio.Channel]:
    settings = ServerSettings(repository=repository, engine="onnxruntime", port=0)
    async with running_server(settings) as running, grpc.aio.insecure_channel(running.address) as channel:
        yield channel


@asynccontextmanager
async def refused(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        yield
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Error" not in (error.value.details() or "")
    assert sum(len(message) for message in caplog.messages) < 200


@pytest.mark.parametrize(
    "method",
    [
        f"{SERVICE}/StreamSentiment",
        f"{SERVICE}/AnalyzeClip",
        f"{SERVICE}/GetServerInfo",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
async def test_what_is_no_request_is_an_invalid_argument(channel, caplog, method):
    async with refused(caplog):
        await channel.stream_stream(method)(iter([GARBAGE])).read()


async def test_in_the_middle_of_a_session_too(channel, caplog):
    config = session_pb2.SessionConfig(text=media_pb2.TextConfig())
    call = channel.stream_stream(f"{SERVICE}/StreamSentiment")()
    await call.write(session_pb2.StreamSentimentRequest(config=config).SerializeToString())
    assert session_pb2.StreamSentimentResponse.FromString(await call.read()).HasField("started")
    await call.write(GARBAGE)
    closed = session_pb2.StreamSentimentResponse.FromString(await call.read()).closed
    assert closed.error.reason == error_pb2.ERROR_REASON_MESSAGE_MALFORMED
    assert len(closed.totals) == 3
    async with refused(caplog):
        await call.read()


async def test_a_transcript_of_empty_spans_is_refused_before_it_is_parsed(channel, caplog):
    file = clip_pb2.MediaFile(transcript=[media_pb2.TextSpan()] * 11_000)
    request = clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(file=file))
    async with refused(caplog):
        await channel.stream_unary(f"{SERVICE}/AnalyzeClip")(iter([request.SerializeToString()]))


async def test_a_flood_of_them_is_a_few_lines_in_the_log(channel, caplog):
    caplog.set_level(logging.DEBUG)
    for _ in range(50):
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(f"{SERVICE}/GetServerInfo")(GARBAGE)
    assert len([message for message in caplog.messages if "refused" in message]) < 25


async def test_compressed_requests_are_refused_uninflated(channel):
    call = channel.unary_unary(f"{SERVICE}/GetServerInfo")
    with pytest.raises(grpc.aio.AioRpcError, match="gzip"):
        await call(bytes(1_000_000), compression=grpc.Compression.Gzip)
