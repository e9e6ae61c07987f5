"""A server that does exactly what a test scripts: for failures that the real one can't be made to show on demand."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from moodstream.v1 import clip_pb2, result_pb2, service_pb2, service_pb2_grpc, session_pb2

Requests = AsyncIterator[session_pb2.StreamSentimentRequest]
Script = Callable[[Requests, Any], AsyncIterator[session_pb2.StreamSentimentResponse]]


class ScriptedServicer(service_pb2_grpc.SentimentServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script
        self.clip: list[clip_pb2.AnalyzeClipRequest] = []

    async def StreamSentiment(self, request_iterator, context):  # noqa: N802
        async for response in self._script(request_iterator, context):
            yield response

    async def AnalyzeClip(self, request_iterator, context):  # noqa: N802
        async for request in request_iterator:
            self.clip.append(request)
            if request.data.startswith(b"refuse"):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "config.file: not a media file")
        return clip_pb2.AnalyzeClipResponse(windows=[result_pb2.SentimentResult(is_final=True)])

    async def GetServerInfo(self, request, context):  # noqa: N802
        authorization = dict(context.invocation_metadata()).get("authorization", "")
        return service_pb2.GetServerInfoResponse(version=authorization, engine=session_pb2.ENGINE_ONNXRUNTIME)


Serve = Callable[[Script], Awaitable[tuple[str, ScriptedServicer]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server with a script for its sessions; returns its address and the servicer."""
    async with AsyncExitStack() as stack:

        async def start(script: Script) -> tuple[str, ScriptedServicer]:
            server = grpc.aio.server()
            servicer = ScriptedServicer(script)
            service_pb2_grpc.add_SentimentServiceServicer_to_server(servicer, server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
            return f"127.0.0.1:{port}", servicer

        yield start
