"""The work behind the commands of `python -m client`: runs a session or analyses clips and returns the exit code."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path

from moodstream.v1.media_pb2 import AudioChunk, VideoFrame
from moodstream.v1.result_pb2 import SentimentResult
from moodstream.v1.session_pb2 import CLOSE_REASON_CLIENT, ModalityTotals, SessionClosed
from rich.console import Console

from client.api import MoodstreamClient
from client.builtin import NAME, builtin_clip
from client.clip import Clip, Media
from client.display import MAX_WIDTH, Display, print_clip
from client.durations import NS_PER_S, to_ns
from client.exits import Exit
from client.heard import Heard
from client.jsonlines import Json, clip_line, info_line
from client.media import MediaOptions, open_clip, transcript_of
from client.messages import AUDIO_RATE_HZ
from client.pacing import Pacer, paced
from client.summary import info_panel


def load_clip(file: str, transcript: str | None, options: MediaOptions, text: bool = True) -> Clip:
    """Return the clip that a command's argument means; raises MediaError when it can't be read."""
    if _is_builtin(file):
        return builtin_clip(options, text=text)
    return open_clip(file, transcript if text else None, options)


class Session:
    """One clip that is streamed, and how far it has got."""

    def __init__(self, clip: Clip, pacer: Pacer) -> None:
        self.clip = clip
        self.pacer = pacer
        self._paces: list[int] = []
        self._heard = Heard()

    def position(self) -> tuple[int, str]:
        """Return how much has been sent, and the words that are being heard."""
        return self._paces[-1] if self._paces else 0, self._heard.now()

    async def run(self, client: MoodstreamClient, display: Display, strict: bool = False) -> Exit:
        """Stream the clip and show what is answered.

        Raises:
            MoodstreamError: as `MoodstreamClient.stream`.
            MediaError: the clip can't be decoded to its end.
        """
        closed: SessionClosed | None = None
        try:
            async with aclosing(client.stream(self._media(), self.clip.config)) as messages:
                async for message in messages:
                    words, latency_ns = "", None
                    if isinstance(message, SentimentResult):
                        end_ns = to_ns(message.end_offset)
                        words = self._heard.at(end_ns)
                        latency_ns = self.pacer.latency_ns(self._sent_ns(end_ns))
                    display.show(message, words, latency_ns)
                    closed = message if isinstance(message, SessionClosed) else closed
        finally:
            display.close()
        return _exit_of(closed, strict)

    async def _media(self) -> AsyncGenerator[Media, None]:
        """The clip's messages, noted on their way."""
        async with aclosing(paced(self.clip.open(), self.pacer)) as messages:
            async for media in messages:
                self._heard.note(media)
                self._note_pace(media)
                yield media

    def _note_pace(self, media: Media) -> None:
        """Remember how far the session has got: by the ends of its audio, without audio by its frames."""
        if isinstance(media, AudioChunk):
            self._paces.append(to_ns(media.start_offset) + len(media.data) // 2 * NS_PER_S // AUDIO_RATE_HZ)
        elif isinstance(media, VideoFrame) and not self.clip.config.HasField("audio"):
            self._paces.append(to_ns(media.start_offset))

    def _sent_ns(self, end_ns: int) -> int:
        """Return when the message was due that completed a window ending at `end_ns`."""
        following = bisect_left(self._paces, end_ns)
        return self._paces[following] if following < len(self._paces) else min(end_ns, self.clip.duration_ns)


async def run_analyze(
    client: MoodstreamClient,
    file: str,
    transcript: str | None,
    options: MediaOptions,
    text: bool,
    strict: bool,
    show: Console | Callable[[Json], None],
) -> Exit:
    """Analyse one clip and show it, as a table or as one JSON object.

    Raises:
        MediaError: the file or the transcript can't be read.
        MoodstreamError: as `MoodstreamClient.analyze`.
    """
    heard = Heard()
    is_whole = options.audio and options.video and not _is_builtin(file)
    if is_whole:
        words = await asyncio.to_thread(transcript_of, file, (transcript or "") if text else "")
        response = await client.analyze(file, words if words.words else None)
        messages = words.messages()
    else:
        clip = await asyncio.to_thread(load_clip, file, transcript, options, text)
        response = await client.analyze(clip)
        messages = clip.open()
    if isinstance(show, Console):
        for timed in messages:
            heard.note(timed.media)
        print_clip(show, Path(file).name, response, heard)
    else:
        show(clip_line(file, response))
    return Exit.REFUSED if strict and _spoilt(response.totals) else Exit.OK


async def run_info(client: MoodstreamClient, show: Console | Callable[[Json], None]) -> Exit:
    """Ask the server what it is and show it; raises MoodstreamError."""
    info = await client.info()
    if isinstance(show, Console):
        show.print(info_panel(client.target, info, min(show.width, MAX_WIDTH)))
    else:
        show(info_line(client.target, info))
    return Exit.OK


def _is_builtin(file: str) -> bool:
    return file == NAME and not Path(file).exists()


def _exit_of(closed: SessionClosed | None, strict: bool) -> Exit:
    if closed is None or closed.reason != CLOSE_REASON_CLIENT:
        return Exit.ENDED_EARLY
    return Exit.REFUSED if strict and _spoilt(closed.totals) else Exit.OK


def _spoilt(totals: Iterable[ModalityTotals]) -> bool:
    return any(total.rejected or total.late or total.dropped for total in totals)
