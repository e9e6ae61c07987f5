"""`AnalyzeClip`: a whole clip in, all its final windows out, as fast as the models allow."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
from moodstream.v1 import clip_pb2

from server.live.events import Closed, Event, Rejected, Result
from server.live.failures import RefusedError, refused
from server.live.front import Front
from server.live.intake import reading
from server.live.playback import playing
from server.live.runner import SessionRunner
from server.live.scoring import RECORDED
from server.rpc import responses
from server.rpc.auth import caller
from server.rpc.clip_file import opened_file
from server.rpc.requests import Parser, media_settings, result_settings, session_settings
from server.rpc.results import ResultWriter
from server.rpc.status import abort
from server.session.pieces import WindowPlan
from server.session.reasons import Reason

Request = clip_pb2.AnalyzeClipRequest
Response = clip_pb2.AnalyzeClipResponse
Context = grpc.aio.ServicerContext[Request, Response]


async def analyze_clip(front: Front, requests: AsyncIterator[Request], context: Context) -> Response:
    """Analyse a clip given as session messages or as a media file; one call, one response."""
    try:
        with front.admission.session(caller.get()):
            config = await _config(front, requests)
            if config.WhichOneof("source") == "session":
                return await _analyze_messages(front, config, requests)
            return await _analyze_file(front, config.file, requests)
    except RefusedError as error:
        await abort(context, error.failure)


async def _config(front: Front, requests: AsyncIterator[Request]) -> clip_pb2.ClipConfig:
    try:
        async with asyncio.timeout(front.limits.config_timeout_s):
            first = await anext(requests, None)
    except TimeoutError:
        raise refused(Reason.CONFIG_TIMEOUT, "no config came in time") from None
    if first is None or first.config.WhichOneof("source") is None:
        message = "the first message must be config, with either file or session set"
        raise refused(Reason.CONFIG_MISSING, message, "config")
    return first.config


async def _analyze_messages(front: Front, config: clip_pb2.ClipConfig, requests: AsyncIterator[Request]) -> Response:
    settings = replace(
        session_settings(config.session, front.limits),
        is_recorded=True,
        max_gap_ns=front.limits.max_clip_ns,
        max_duration_ns=front.limits.max_clip_ns,
    )
    media = media_settings(config.session)
    results = result_settings(config.session.results, "config.session.results")
    async with (
        front.session(settings, media, RECORDED, results.smoothing_ns) as connection,
        reading(requests, connection, Parser(front.limits)),
    ):
        return await _collect(front, connection.session.runner, ResultWriter(results))


async def _analyze_file(front: Front, file: clip_pb2.MediaFile, requests: AsyncIterator[Request]) -> Response:
    results = result_settings(file.results, "config.file.results")
    with front.admission.clip(caller.get()), front.file():
        async with (
            opened_file(file, requests, front.limits, front.clips) as opened,
            front.session(opened.settings, opened.media, RECORDED, results.smoothing_ns) as connection,
            playing(opened.clip, opened.text, connection.session.runner),
        ):
            return await _collect(front, connection.session.runner, ResultWriter(results))


async def _collect(front: Front, runner: SessionRunner, writer: ResultWriter) -> Response:
    response = Response(models=responses.model_versions(front.models))
    async for event in runner.events():
        _add(response, event, writer)
    return response


def _add(response: Response, event: Event, writer: ResultWriter) -> None:
    if isinstance(event, Result):
        results = response.windows if isinstance(event.plan, WindowPlan) else response.utterances
        results.append(writer.result(event))
    elif isinstance(event, Rejected):
        response.rejected.append(responses.rejected_message(event))
    elif isinstance(event, Closed):
        if event.failure is not None:
            raise RefusedError(event.failure)
        response.totals.extend(responses.totals_messages(event.totals))
        if (summary := writer.summary(event)) is not None:
            response.summary.CopyFrom(summary)
