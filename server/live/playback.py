"""Plays an opened media file into a session, together with its words."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from contract.timing import samples_to_ns
from server.live.events import CloseReason
from server.live.failures import Failure
from server.live.runner import SessionRunner
from server.media.clip import ClipAudio, ClipFrame
from server.media.clip_decoders import DecodedClip
from server.media.errors import MediaError
from server.session.messages import EndOfUtterance, Media, Modality
from server.session.reasons import Reason

logger = logging.getLogger(__name__)

TimedText = tuple[int, Media | EndOfUtterance]
"""Words or the end of an utterance, with the session time at which they are there."""


@asynccontextmanager
async def playing(clip: DecodedClip, text: Sequence[TimedText], runner: SessionRunner) -> AsyncIterator[None]:
    """Feed the file, and its words in the order of their times, into the session; stops with the block."""
    player = asyncio.create_task(_play(clip, deque(text), runner), name="clip-player")
    try:
        yield
    finally:
        player.cancel()
        await asyncio.gather(player, return_exceptions=True)


async def _play(clip: DecodedClip, text: deque[TimedText], runner: SessionRunner) -> None:
    try:
        await _feed(clip, text, runner)
        runner.finish(CloseReason.CLIENT)
    except MediaError as error:
        runner.fail(Failure(Reason.MEDIA_UNDECODABLE, str(error), "data"))
    except Exception:
        # The events must end with whatever broke: their consumer would wait for ever.
        logger.exception("playing a file failed")
        runner.fail(Failure(Reason.INTERNAL, "the file could not be played"))


async def _feed(clip: DecodedClip, text: deque[TimedText], runner: SessionRunner) -> None:
    sequences = {Modality.AUDIO: 0, Modality.VIDEO: 0}
    async for piece in clip:
        # Words must be there before the audio that makes their window final.
        end_ns = _end_of(piece, clip)
        while text and text[0][0] <= end_ns:
            await runner.ready()
            runner.receive(text.popleft()[1])
        modality = Modality.AUDIO if isinstance(piece, ClipAudio) else Modality.VIDEO
        await runner.ready()
        runner.receive(Media(modality, sequences[modality], piece.start_offset_ns, piece.data))
        sequences[modality] += 1
    for _, item in text:
        await runner.ready()
        runner.receive(item)


def _end_of(piece: ClipAudio | ClipFrame, clip: DecodedClip) -> int:
    if isinstance(piece, ClipFrame) or clip.audio is None:
        return piece.start_offset_ns
    return piece.start_offset_ns + samples_to_ns(len(piece.samples), clip.audio.sample_rate)
