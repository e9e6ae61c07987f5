"""`StreamSentiment`: a live session over one bidirectional stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import grpc
from moodstream.v1 import session_pb2

from contract.timing import NS_PER_S
from server.live.events import Closed, Event, Notice, Rejected, SessionFailedError, UtteranceResult, WindowResult
from server.live.front import AdmissionError, Front
from server.live.runner import LIVE
from server.rpc import convert
from server.rpc.intake import reading
from server.settings import SessionLimits

Request = session_pb2.StreamSentimentRequest
Response = session_pb2.StreamSentimentResponse
Context = grpc.aio.ServicerContext[Request, Response]


async def stream_sentiment(
    front: Front, requests: AsyncIterator[Request], context: Context
) -> AsyncGenerator[Response, None]:
    """Run a session until its client closes it, the server drains it, or one of the limits is reached."""
    config = await _first_config(requests, context, front.limits)
    try:
        settings = convert.session_settings(config, front.limits)
        media = convert.media_settings(config)
        async with front.session(settings, media, LIVE) as (session_id, runner):
            yield Response(started=convert.started_message(front, session_id, config, settings))
            async with reading(requests, runner, front.limits):
                async for event in runner.events():
                    yield _response(event)
    except convert.ConfigError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except AdmissionError as error:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
    except SessionFailedError as error:
        await context.abort(grpc.StatusCode.INTERNAL, str(error))


async def _first_config(
    requests: AsyncIterator[Request], context: Context, limits: SessionLimits
) -> session_pb2.SessionConfig:
    try:
        async with asyncio.timeout(limits.idle_timeout_ns / NS_PER_S):
            first = await anext(requests, None)
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no config came within the idle timeout")
    if first is None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the stream ended before its config")
    kind = first.WhichOneof("request")
    if kind != "config":
        message = f"the first message must be config, got {kind or 'an empty request'}"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
    return first.config


def _response(event: Event) -> Response:
    if isinstance(event, WindowResult):
        return Response(result=convert.window_message(event))
    if isinstance(event, UtteranceResult):
        return Response(result=convert.utterance_message(event))
    if isinstance(event, Rejected):
        return Response(rejected=convert.rejected_message(event))
    if isinstance(event, Notice):
        return Response(event=convert.notice_message(event))
    assert isinstance(event, Closed)
    return Response(closed=convert.closed_message(event))
