"""A media file of `AnalyzeClip`: received in pieces and opened, with its transcript."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from moodstream.v1 import clip_pb2

from contract.timing import NS_PER_S
from server.live.failures import refused
from server.live.playback import TimedText
from server.media.clip_decoders import ClipDecoders, DecodedClip
from server.media.errors import MediaError
from server.media.session_media import MediaSettings
from server.rpc.requests import text_media, to_ns
from server.session.core import SessionSettings
from server.session.messages import EndOfUtterance, Modality
from server.session.reasons import Reason
from server.settings import SessionLimits


@dataclass(frozen=True)
class OpenedFile:
    """A media file that can be played, and the settings of its session."""

    clip: DecodedClip
    settings: SessionSettings
    media: MediaSettings
    timed_text: tuple[TimedText, ...]
    """Words and ends of utterances in the order of their times."""


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
    timed_text = _timed_text(file, limits)
    try:
        async with asyncio.timeout(limits.upload_timeout_s):
            data = await _receive(requests, limits)
    except TimeoutError:
        message = f"the media file was not there within {limits.upload_timeout_s:g} s"
        raise refused(Reason.CONFIG_TIMEOUT, message, "data") from None
    async with AsyncExitStack() as stack:
        opening = decoders.open(data, limits.max_clip_bytes, limits.max_clip_ns, limits.max_clip_cpu_s)
        try:
            clip = await stack.enter_async_context(opening)
        except MediaError as error:
            raise refused(Reason.MEDIA_UNDECODABLE, str(error), "data") from error
        present = {Modality.AUDIO: clip.audio, Modality.VIDEO: clip.video, Modality.TEXT: timed_text or None}
        modalities = frozenset(modality for modality, one in present.items() if one is not None)
        settings = SessionSettings(modalities, final_only=True, max_gap_ns=limits.max_clip_ns)
        yield OpenedFile(clip, settings, MediaSettings(clip.audio, clip.video), timed_text)


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


def _timed_text(file: clip_pb2.MediaFile, limits: SessionLimits) -> tuple[TimedText, ...]:
    timed: list[TimedText] = []
    for number, span in enumerate(file.transcript):
        words = text_media(span)
        if len(words.data) > limits.max_text_bytes:
            field = f"config.file.transcript[{number}].text"
            message = f"{field} has {len(words.data)} bytes: at most {limits.max_text_bytes} are taken"
            raise refused(Reason.MESSAGE_TOO_LARGE, message, field)
        timed.append((words.start_ns + words.duration_ns, words))
    timed += [(to_ns(end), EndOfUtterance(to_ns(end))) for end in file.utterance_ends]
    return tuple(sorted(timed, key=lambda pair: pair[0]))
