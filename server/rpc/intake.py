"""Feeds the messages of a session or a clip into its runner: bounds them, translates, refuses the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moodstream.v1 import clip_pb2, session_pb2

from contract.timing import NS_PER_S
from server.live.events import CloseReason
from server.live.runner import SessionRunner
from server.rpc import convert
from server.session.messages import Media, Modality
from server.settings import SessionLimits

Request = session_pb2.StreamSentimentRequest | clip_pb2.AnalyzeClipRequest


@asynccontextmanager
async def reading(
    requests: AsyncIterator[Request], runner: SessionRunner, limits: SessionLimits
) -> AsyncIterator[None]:
    """Feed the session in the background until its client or a limit ends it; stops with the block."""
    reader = asyncio.create_task(_read(requests, runner, limits), name="session-reader")
    try:
        yield
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _read(requests: AsyncIterator[Request], runner: SessionRunner, limits: SessionLimits) -> None:
    try:
        runner.finish(await _read_until_end(requests, runner, limits))
    except Exception as error:
        # Whatever broke, the events must end with it: their consumer would wait for ever.
        runner.fail(error)


async def _read_until_end(
    requests: AsyncIterator[Request], runner: SessionRunner, limits: SessionLimits
) -> CloseReason:
    try:
        async with asyncio.timeout(limits.max_duration_ns / NS_PER_S):
            return await _read_until_idle(requests, runner, limits)
    except TimeoutError:
        return CloseReason.MAX_DURATION


async def _read_until_idle(
    requests: AsyncIterator[Request], runner: SessionRunner, limits: SessionLimits
) -> CloseReason:
    while True:
        try:
            async with asyncio.timeout(limits.idle_timeout_ns / NS_PER_S):
                request = await anext(requests, None)
        except TimeoutError:
            return CloseReason.IDLE_TIMEOUT
        if request is None or request.WhichOneof("request") == "close":
            return CloseReason.CLIENT
        await take_in(request, runner, limits)


async def take_in(request: Request, runner: SessionRunner, limits: SessionLimits) -> None:
    """Pass one message on, or put a `rejected` into the session's events."""
    kind = request.WhichOneof("request")
    if kind == "audio":
        await _media(convert.audio_media(request.audio), runner, limits.max_audio_bytes)
    elif kind == "video":
        await _media(convert.video_media(request.video), runner, limits.max_image_bytes)
    elif kind == "text":
        await _media(convert.text_media(request.text), runner, limits.max_text_bytes)
    elif kind == "end_of_modality":
        end = convert.end_of_modality(request.end_of_modality)
        if end is None:
            runner.refuse(f"end_of_modality.modality {request.end_of_modality.modality} is unknown")
        else:
            await runner.receive(end)
    elif kind == "end_of_utterance":
        await runner.receive(convert.end_of_utterance(request.end_of_utterance))
    elif kind is None:
        runner.refuse("the request is empty: expected one of its fields to be set")
    else:
        runner.refuse(f"{kind} is not expected here: it comes once, first")


async def _media(media: Media, runner: SessionRunner, max_bytes: int) -> None:
    if len(media.data) > max_bytes:
        field = "text" if media.modality == Modality.TEXT else "data"
        runner.reject(
            media.modality,
            media.sequence,
            f"{media.modality}.{field} has {len(media.data)} bytes: at most {max_bytes} are accepted in one message",
        )
        return
    await runner.receive(media)
