"""The gRPC service of `protos/moodstream/v1/service.proto`; each call has a module of its own."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
from moodstream.v1 import clip_pb2, service_pb2, service_pb2_grpc, session_pb2

from server.inference.engine import EngineError
from server.live.admission import RETRY_S
from server.live.failures import Failure
from server.live.front import Front
from server.rpc import clip, stream
from server.rpc.info import server_info
from server.rpc.status import abort
from server.session.reasons import Reason

InfoContext = grpc.aio.ServicerContext[service_pb2.GetServerInfoRequest, service_pb2.GetServerInfoResponse]


class SentimentService(service_pb2_grpc.SentimentServiceServicer):
    """Connects the generated service with the modules that implement its calls."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def StreamSentiment(  # noqa: N802 -- gRPC's name
        self, request_iterator: AsyncIterator[session_pb2.StreamSentimentRequest], context: stream.Context
    ) -> AsyncIterator[session_pb2.StreamSentimentResponse]:
        """Run a live session."""
        # gRPC looks at the method itself to see that it is an asynchronous generator.
        async with aclosing(stream.stream_sentiment(self._front, request_iterator, context)) as responses:
            async for response in responses:
                yield response

    async def AnalyzeClip(  # noqa: N802 -- gRPC's name
        self, request_iterator: AsyncIterator[clip_pb2.AnalyzeClipRequest], context: clip.Context
    ) -> clip_pb2.AnalyzeClipResponse:
        """Analyse a whole clip."""
        return await clip.analyze_clip(self._front, request_iterator, context)

    async def GetServerInfo(  # noqa: N802 -- gRPC's name
        self, request: service_pb2.GetServerInfoRequest, context: InfoContext
    ) -> service_pb2.GetServerInfoResponse:
        """Describe the server."""
        try:
            return await server_info(self._front)
        except EngineError as error:
            await abort(context, Failure(Reason.MODEL_UNAVAILABLE, str(error), retry_s=RETRY_S))
