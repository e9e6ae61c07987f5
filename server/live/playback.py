"""Plays an opened media file into a session, together with its words."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from server.live.events import CloseReason
from server.live.failures import Failure
from server.live.runner import SessionRunner
from server.media.clip import ClipAudio
from server.media.clip_decoders import DecodedClip
from server.media.errors import MediaError
from server.session.messages import EndOfUtterance, Media, Modality
from server.session.reasons import Reason

logger = logging.getLogger(__name__)


@asynccontextmanager
async def playing(
    clip: DecodedClip, text: Sequence[Media | EndOfUtterance], runner: SessionRunner
) -> AsyncIterator[None]:
    """Feed the words of a file and then the file into the session, in the background; stops with the block."""
    player = asyncio.create_task(_play(clip, text, runner), name="clip-player")
    try:
        yield
    finally:
        player.cancel()
        await asyncio.gather(player, return_exceptions=True)


async def _play(clip: DecodedClip, text: Sequence[Media | EndOfUtterance], runner: SessionRunner) -> None:
    try:
        await _feed(clip, text, runner)
        runner.finish(CloseReason.CLIENT)
    except MediaError as error:
        runner.fail(Failure(Reason.MEDIA_UNDECODABLE, str(error), "data"))
    except Exception:
        # The events must end with whatever broke: their consumer would wait for ever.
        logger.exception("playing a file failed")
        runner.fail(Failure(Reason.INTERNAL, "the file could not be played"))


async def _feed(clip: DecodedClip, text: Sequence[Media | EndOfUtterance], runner: SessionRunner) -> None:
    for item in text:
        await runner.ready()
        runner.receive(item)
    sequences = {Modality.AUDIO: 0, Modality.VIDEO: 0}
    async for piece in clip:
        modality = Modality.AUDIO if isinstance(piece, ClipAudio) else Modality.VIDEO
        await runner.ready()
        runner.receive(Media(modality, sequences[modality], piece.start_offset_ns, piece.data))
        sequences[modality] += 1
