"""`AnalyzeClip`: a whole clip in, all its final windows out, as fast as the models allow."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
from moodstream.v1 import clip_pb2

from contract.timing import NS_PER_S
from server.live.events import Closed, Event, Rejected, SessionFailedError, UtteranceResult, WindowResult
from server.live.front import AdmissionError, Front
from server.live.runner import RECORDED, SessionRunner
from server.media.errors import MediaError
from server.rpc import convert
from server.rpc.clip_file import opened_file, play
from server.rpc.intake import reading

Request = clip_pb2.AnalyzeClipRequest
Response = clip_pb2.AnalyzeClipResponse
Context = grpc.aio.ServicerContext[Request, Response]


async def analyze_clip(front: Front, requests: AsyncIterator[Request], context: Context) -> Response:
    """Analyse a clip given as session messages or as a media file; one call, one response."""
    config = clip_pb2.ClipConfig()
    try:
        async with asyncio.timeout(front.limits.idle_timeout_ns / NS_PER_S):
            if (first := await anext(requests, None)) is not None:
                config = first.config
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no config came within the idle timeout")
    try:
        match config.WhichOneof("source"):
            case "session":
                return await _analyze_messages(front, config, requests)
            case "file":
                return await _analyze_file(front, config.file, requests)
            case _:
                raise convert.ConfigError("the first message must be config, with either file or session set")
    except (convert.ConfigError, MediaError) as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except AdmissionError as error:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
    except SessionFailedError as error:
        await context.abort(grpc.StatusCode.INTERNAL, str(error))


async def _analyze_messages(front: Front, config: clip_pb2.ClipConfig, requests: AsyncIterator[Request]) -> Response:
    settings = replace(convert.session_settings(config.session, front.limits), final_only=True)
    media = convert.media_settings(config.session)
    async with front.session(settings, media, RECORDED) as (_, runner), reading(requests, runner, front.limits):
        return await _collect(front, runner)


async def _analyze_file(front: Front, file: clip_pb2.MediaFile, requests: AsyncIterator[Request]) -> Response:
    with front.file():
        async with opened_file(file, requests, front.limits, front.clips) as opened:
            session = front.session(opened.settings, opened.media, RECORDED)
            async with session as (_, runner), play(opened, runner):
                return await _collect(front, runner)


async def _collect(front: Front, runner: SessionRunner) -> Response:
    response = Response(models=convert.model_versions(front.models))
    async for event in runner.events():
        _add(response, event)
    return response


def _add(response: Response, event: Event) -> None:
    if isinstance(event, WindowResult):
        response.windows.append(convert.window_message(event))
    elif isinstance(event, UtteranceResult):
        response.utterances.append(convert.utterance_message(event))
    elif isinstance(event, Rejected):
        response.rejected.append(convert.rejected_message(event))
    elif isinstance(event, Closed):
        response.totals.extend(convert.totals_messages(event.totals))
        if event.summary is not None:
            response.summary.CopyFrom(convert.summary_message(event))
