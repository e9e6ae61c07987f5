"""A running server of each engine, and clips to send to it."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from moodstream.v1 import clip_pb2, service_pb2_grpc, session_pb2

from client import Clip, builtin_clip, errors
from client.clip import Media, clip_request, stream_request
from server.app import Running, running_server
from server.inference.select import EngineChoice
from server.settings import ServerSettings


@pytest.fixture(scope="session")
def settings_for(repository: Path) -> Callable[..., ServerSettings]:
    """Settings of a server on a free port, by its engine."""

    def settings(engine: EngineChoice, **others: Any) -> ServerSettings:
        return ServerSettings(repository=repository, engine=engine, port=0, **others)

    return settings


@pytest.fixture(scope="session")
async def onnx_server(settings_for) -> AsyncIterator[Running]:
    """A server with the in-process engine."""
    async with running_server(settings_for("onnxruntime")) as running:
        yield running


@pytest.fixture(scope="session")
async def triton_server(settings_for) -> AsyncIterator[Running]:
    """A server with the embedded Triton. Do not kill parts of it: others use it."""
    async with running_server(settings_for("triton")) as running:
        yield running


@dataclass(frozen=True)
class Caller:
    """Calls a server with raw messages and returns everything that it answers."""

    channel: grpc.aio.Channel

    @property
    def stub(self) -> service_pb2_grpc.SentimentServiceStub:
        return service_pb2_grpc.SentimentServiceStub(self.channel)

    async def stream(
        self, requests: Sequence[session_pb2.StreamSentimentRequest]
    ) -> list[session_pb2.StreamSentimentResponse]:
        async def all_requests() -> AsyncIterator[session_pb2.StreamSentimentRequest]:
            for request in requests:
                yield request

        return [response async for response in self.stub.StreamSentiment(all_requests())]

    async def session(
        self, config: session_pb2.SessionConfig, media: Sequence[Media]
    ) -> list[session_pb2.StreamSentimentResponse]:
        close = session_pb2.StreamSentimentRequest(close=session_pb2.CloseSession())
        return await self.stream(
            [session_pb2.StreamSentimentRequest(config=config), *map(stream_request, media), close]
        )

    async def clip(self, config: session_pb2.SessionConfig, media: Sequence[Media]) -> clip_pb2.AnalyzeClipResponse:
        first = clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(session=config))

        async def all_requests() -> AsyncIterator[clip_pb2.AnalyzeClipRequest]:
            yield first
            for one in media:
                yield clip_request(one)

        return await self.stub.AnalyzeClip(all_requests())


@pytest.fixture
async def call() -> AsyncIterator[Callable[[Running], Caller]]:
    channels = []

    def open_caller(running: Running) -> Caller:
        channels.append(grpc.aio.insecure_channel(running.address))
        return Caller(channels[-1])

    yield open_caller
    for channel in channels:
        await channel.close()


@pytest.fixture(scope="session")
def clip() -> Clip:
    return builtin_clip()


@pytest.fixture(scope="session")
def media(clip: Clip) -> list[Media]:
    """All messages of the built-in clip, in the order of a live source."""
    return [timed.media for timed in clip.open()]


@pytest.fixture(scope="session")
def reason_of() -> Callable[[grpc.aio.AioRpcError], str]:
    """Reads the stable reason of a failed call."""
    return lambda error: errors.reason_of(error.trailing_metadata())
