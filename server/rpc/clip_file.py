"""A media file of `AnalyzeClip`: received in pieces, opened, and played into a session together with its transcript."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from moodstream.v1 import clip_pb2

from contract.timing import NS_PER_S, samples_to_ns
from server.live.events import CloseReason
from server.live.runner import SessionRunner
from server.media.clip import ClipAudio, ClipFrame
from server.media.clip_decoders import ClipDecoders, DecodedClip
from server.media.session_media import MediaSettings
from server.rpc import convert
from server.session.core import SessionSettings
from server.session.messages import EndOfUtterance, Media, Modality
from server.settings import SessionLimits


@dataclass(frozen=True)
class OpenedFile:
    """A media file that can be played, and the settings of its session."""

    clip: DecodedClip
    settings: SessionSettings
    media: MediaSettings
    timed_text: tuple[tuple[int, Media | EndOfUtterance], ...]
    """Words and ends of utterances with the time at which they were there, in its order."""


@asynccontextmanager
async def opened_file(
    file: clip_pb2.MediaFile,
    requests: AsyncIterator[clip_pb2.AnalyzeClipRequest],
    limits: SessionLimits,
    decoders: ClipDecoders,
) -> AsyncIterator[OpenedFile]:
    """Receive and open a file.

    Raises:
        ConfigError: something other than `data` came, or more of it than `max_clip_bytes`.
        MediaError: the file can't be read.
    """
    timed_text = _timed_text(file, limits)
    data = await _receive(requests, limits)
    async with decoders.open(data, limits.max_clip_bytes, limits.max_clip_ns, limits.max_clip_cpu_s) as clip:
        del data
        present = {Modality.AUDIO: clip.audio, Modality.VIDEO: clip.video, Modality.TEXT: timed_text or None}
        modalities = frozenset(modality for modality, one in present.items() if one is not None)
        settings = SessionSettings(modalities, final_only=True, max_gap_ns=limits.max_clip_ns)
        yield OpenedFile(clip, settings, MediaSettings(clip.audio, clip.video), timed_text)


@asynccontextmanager
async def play(opened: OpenedFile, runner: SessionRunner) -> AsyncIterator[None]:
    """Feed the file into the session in the background; stops with the block."""
    player = asyncio.create_task(_play(opened, runner), name="clip-player")
    try:
        yield
    finally:
        player.cancel()
        await asyncio.gather(player, return_exceptions=True)


async def _play(opened: OpenedFile, runner: SessionRunner) -> None:
    text = deque(opened.timed_text)
    sequences = {Modality.AUDIO: 0, Modality.VIDEO: 0}
    try:
        async for piece in opened.clip:
            # Words must be there before the audio that makes their window final.
            end_ns = _end_of(piece, opened.clip)
            while text and text[0][0] <= end_ns:
                await runner.receive(text.popleft()[1])
            modality = Modality.AUDIO if isinstance(piece, ClipAudio) else Modality.VIDEO
            await runner.receive(Media(modality, sequences[modality], piece.start_offset_ns, piece.data))
            sequences[modality] += 1
        for _, item in text:
            await runner.receive(item)
        runner.finish(CloseReason.CLIENT)
    except Exception as error:
        # The events must end with whatever broke: their consumer would wait for ever.
        runner.fail(error)


def _end_of(piece: ClipAudio | ClipFrame, clip: DecodedClip) -> int:
    if isinstance(piece, ClipFrame) or clip.audio is None:
        return piece.start_offset_ns
    return piece.start_offset_ns + samples_to_ns(len(piece.samples), clip.audio.sample_rate)


async def _receive(requests: AsyncIterator[clip_pb2.AnalyzeClipRequest], limits: SessionLimits) -> bytes:
    data = bytearray()
    while (request := await _next(requests, limits)) is not None:
        kind = request.WhichOneof("request")
        if kind != "data":
            raise convert.ConfigError(f"after the config of a file only data is expected, got {kind or 'nothing'}")
        data += request.data
        if len(data) > limits.max_clip_bytes:
            raise convert.ConfigError(
                f"the media file is larger than {limits.max_clip_bytes} bytes, which is the limit"
            )
    return bytes(data)


async def _next(
    requests: AsyncIterator[clip_pb2.AnalyzeClipRequest], limits: SessionLimits
) -> clip_pb2.AnalyzeClipRequest | None:
    try:
        async with asyncio.timeout(limits.idle_timeout_ns / NS_PER_S):
            return await anext(requests, None)
    except TimeoutError:
        raise convert.ConfigError("the next piece of the media file did not come within the idle timeout") from None


def _timed_text(file: clip_pb2.MediaFile, limits: SessionLimits) -> tuple[tuple[int, Media | EndOfUtterance], ...]:
    timed: list[tuple[int, Media | EndOfUtterance]] = []
    for span in file.transcript:
        words = convert.text_media(span)
        if len(words.data) > limits.max_text_bytes:
            raise convert.ConfigError(
                f"transcript[{len(timed)}].text has {len(words.data)} bytes: at most {limits.max_text_bytes} are taken"
            )
        timed.append((words.start_ns + words.duration_ns, words))
    timed += [(convert.to_ns(end), EndOfUtterance(convert.to_ns(end))) for end in file.utterance_ends]
    return tuple(sorted(timed, key=lambda pair: pair[0]))
