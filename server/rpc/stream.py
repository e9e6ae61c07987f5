"""`StreamSentiment`: a live session over one bidirectional stream, or over several when a connection is lost."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

import grpc
from moodstream.v1 import session_pb2

from server.live.failures import RefusedError, refused
from server.live.front import Front
from server.live.intake import reading
from server.live.scoring import LIVE
from server.live.session import Connection
from server.rpc.auth import caller
from server.rpc.requests import Parser, media_settings, result_settings, session_settings
from server.rpc.responses import started_message, stream_response
from server.rpc.results import ResultWriter
from server.rpc.status import abort
from server.session.reasons import Reason
from server.settings import SessionLimits

Request = session_pb2.StreamSentimentRequest
Response = session_pb2.StreamSentimentResponse
Context = grpc.aio.ServicerContext[Request, Response]


async def stream_sentiment(
    front: Front, requests: AsyncIterator[Request], context: Context
) -> AsyncGenerator[Response, None]:
    """Run a session until its client closes it, the server drains it, or one of the limits is reached."""
    try:
        with front.admission.session(caller.get()):
            first = await _first(requests, front.limits)
            run = _resume if first.HasField("resume") else _start
            async with aclosing(run(front, first, requests)) as responses:
                async for response in responses:
                    yield response
    except RefusedError as error:
        await abort(context, error.failure)


async def _start(front: Front, first: Request, requests: AsyncIterator[Request]) -> AsyncGenerator[Response, None]:
    config = first.config
    settings, media = session_settings(config, front.limits), media_settings(config)
    results = result_settings(config.results, "config.results")
    async with front.session(settings, media, LIVE, results.smoothing_ns, config.resumable) as connection:
        connection.session.render = partial(stream_response, writer=ResultWriter(results))
        started = Response(started=started_message(front, connection.session, config, settings))
        connection.session.log.append(started)
        yield started
        async with aclosing(_responses(connection, requests, 1)) as responses:
            async for response in responses:
                yield response


async def _resume(front: Front, first: Request, requests: AsyncIterator[Request]) -> AsyncGenerator[Response, None]:
    received = first.resume.responses_received
    async with front.resumed(first.resume.resume_token) as connection:
        session = connection.session
        session.log.since(received)
        yield Response(
            resumed=session_pb2.SessionResumed(requests_received=session.requests_received),
            requests_received=session.requests_received,
        )
        async with aclosing(_responses(connection, requests, received)) as responses:
            async for response in responses:
                yield response


async def _responses(
    connection: Connection[Response], requests: AsyncIterator[Request], received: int
) -> AsyncGenerator[Response, None]:
    """Yield all responses but the first `received`; raises RefusedError when the session fails."""
    session = connection.session
    async with (
        reading(requests, connection, Parser(session.limits)),
        aclosing(connection.responses(received)) as responses,
    ):
        async for response in responses:
            response.requests_received = session.requests_received
            yield response
    if session.failure is not None:
        raise RefusedError(session.failure)


async def _first(requests: AsyncIterator[Request], limits: SessionLimits) -> Request:
    try:
        async with asyncio.timeout(limits.config_timeout_s):
            first = await anext(requests, None)
    except TimeoutError:
        raise refused(Reason.CONFIG_TIMEOUT, "no config came in time") from None
    if first is None:
        raise refused(Reason.CONFIG_MISSING, "the stream ended before its config")
    kind = first.WhichOneof("request")
    if kind not in ("config", "resume"):
        message = f"the first message must be config or resume, got {kind or 'an empty request'}"
        raise refused(Reason.CONFIG_MISSING, message)
    return first
