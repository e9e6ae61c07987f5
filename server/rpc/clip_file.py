"""A media file of `AnalyzeClip`: received in pieces and opened, with its transcript."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from moodstream.v1 import clip_pb2

from contract.timing import NS_PER_S
from server.live.failures import refused
from server.media.clip_decoders import ClipDecoders, DecodedClip
from server.media.errors import MediaError
from server.media.session_media import MediaSettings
from server.rpc.requests import endpointing_of, interval_of, text_media, to_ns, with_faces
from server.session.core import SessionSettings
from server.session.messages import EndOfUtterance, Media, Modality
from server.session.reasons import Reason
from server.settings import SessionLimits


@dataclass(frozen=True)
class OpenedFile:
    """A media file that can be played, and the settings of its session."""

    clip: DecodedClip
    settings: SessionSettings
    media: MediaSettings
    text: tuple[Media | EndOfUtterance, ...]
    """Words and ends of utterances."""


@asynccontextmanager
async def opened_file(
    file: clip_pb2.MediaFile,
    requests: AsyncIterator[clip_pb2.AnalyzeClipRequest],
    limits: SessionLimits,
    decoders: ClipDecoders,
) -> AsyncIterator[OpenedFile]:
    """Receive and open a file.

    Raises:
        RefusedError: something other than `data` came, or more of it than `max_clip_bytes`; or the file can't be read.
    """
    interval_ns = interval_of(file.results, "config.file.results")
    endpointing_ns = endpointing_of(file, "config.file")
    text = _text(file, limits)
    try:
        async with asyncio.timeout(limits.upload_timeout_s):
            data = await _receive(requests, limits)
    except TimeoutError:
        message = f"the media file was not there within {limits.upload_timeout_s:g} s"
        raise refused(Reason.CONFIG_TIMEOUT, message, "data") from None
    channel = file.audio_channel if file.HasField("audio_channel") else None
    bounds = limits.max_clip_bytes, limits.max_clip_ns, limits.max_clip_cpu_s
    try:
        async with decoders.open(data, *bounds, channel) as clip:
            del data
            present = {Modality.AUDIO: clip.audio, Modality.VIDEO: clip.video, Modality.TEXT: text or None}
            modalities = frozenset(modality for modality, one in present.items() if one is not None)
            settings = SessionSettings(
                modalities,
                interval_ns=interval_ns,
                endpointing_ns=endpointing_ns,
                is_recorded=True,
                max_gap_ns=limits.max_clip_ns,
            )
            video = None if clip.video is None else with_faces(clip.video, file, "config.file")
            yield OpenedFile(clip, settings, MediaSettings(clip.audio, video), text)
    except MediaError as error:
        raise refused(Reason.MEDIA_UNDECODABLE, str(error), "data") from error


async def _receive(requests: AsyncIterator[clip_pb2.AnalyzeClipRequest], limits: SessionLimits) -> bytes:
    data = bytearray()
    while (request := await _next(requests, limits)) is not None:
        kind = request.WhichOneof("request")
        if kind != "data":
            message = f"after the config of a file only data is expected, got {kind or 'nothing'}"
            raise refused(Reason.MESSAGE_UNEXPECTED, message, kind or "")
        data += request.data
        if len(data) > limits.max_clip_bytes:
            message = f"the media file is larger than {limits.max_clip_bytes} bytes, which is the limit"
            raise refused(Reason.MESSAGE_TOO_LARGE, message, "data")
    return bytes(data)


async def _next(
    requests: AsyncIterator[clip_pb2.AnalyzeClipRequest], limits: SessionLimits
) -> clip_pb2.AnalyzeClipRequest | None:
    try:
        async with asyncio.timeout(limits.idle_timeout_ns / NS_PER_S):
            return await anext(requests, None)
    except TimeoutError:
        message = "the next piece of the media file did not come within the idle timeout"
        raise refused(Reason.CONFIG_TIMEOUT, message, "data") from None


def _text(file: clip_pb2.MediaFile, limits: SessionLimits) -> tuple[Media | EndOfUtterance, ...]:
    words = tuple(map(text_media, file.transcript))
    for number, one in enumerate(words):
        if len(one.data) > limits.max_text_bytes:
            field = f"config.file.transcript[{number}].text"
            message = f"{field} has {len(one.data)} bytes: at most {limits.max_text_bytes} are taken"
            raise refused(Reason.MESSAGE_TOO_LARGE, message, field)
    return (*words, *(EndOfUtterance(to_ns(end)) for end in file.utterance_ends))
