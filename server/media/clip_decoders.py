"""Hands media files to processes that decode them, and reads the pieces that come out."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from server.media.audio import AudioSettings
from server.media.clip import ClipAudio, ClipFrame
from server.media.clip_worker import AUDIO, END, FAILURE, FRAME, HEAD, PIECE, REQUEST
from server.media.errors import MediaError
from server.media.images import VideoSettings

_MAX_PIECE_BYTES: Final = 16 << 20
_CLIPS_PER_PROCESS: Final = 100
"""Then it makes room for a fresh one: whatever a decoder leaks goes with it."""
_GONE: Final = "the clip could not be decoded within its bounds of CPU time and memory"


@dataclass
class _Worker:
    process: Process
    clips: int = 0

    @property
    def output(self) -> asyncio.StreamReader:
        assert self.process.stdout is not None
        return self.process.stdout


class DecodedClip:
    """A media file on its way through a worker; iterate over it once."""

    def __init__(self, worker: _Worker, head: dict[str, Any]) -> None:
        self._worker = worker
        self.audio = None if head["audio"] is None else AudioSettings(**head["audio"])
        """How `ClipAudio.data` is encoded; None without audio."""
        self.video = None if head["video"] is None else VideoSettings(**head["video"])
        """How `ClipFrame.data` is encoded; None without video."""
        self.is_read = False
        """True when the whole file was decoded."""

    async def __aiter__(self) -> AsyncIterator[ClipAudio | ClipFrame]:
        """Yield audio in pieces of about 200 ms and the earliest image of each slot, in the order of their offsets.

        Raises:
            MediaError: the file is cut off, is longer than allowed, its times run back, or its decoder was ended.
        """
        while True:
            kind, start_ns, content = await _receive(self._worker)
            if kind == END:
                self.is_read = True
                return
            yield self._piece(kind, start_ns, content)

    def _piece(self, kind: bytes, start_ns: int, content: bytes) -> ClipAudio | ClipFrame:
        try:
            if kind == AUDIO and self.audio is not None:
                return ClipAudio(start_ns, np.frombuffer(content, "<f4"))
            if kind == FRAME and self.video is not None:
                shape = (self.video.height or 0, self.video.width or 0, 3)
                return ClipFrame(start_ns, np.frombuffer(content, np.uint8).reshape(shape))
        except ValueError:
            pass
        raise MediaError(_GONE)


class ClipDecoders:
    """Idle workers, reused: starting one takes half a second of CPU time. `close` ends them."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    @asynccontextmanager
    async def open(
        self, data: bytes, max_bytes: int, max_ns: int, cpu_s: float, channel: int | None = None
    ) -> AsyncIterator[DecodedClip]:
        """Open a media file. Leaving the block ends its decoding at once, wherever it is.

        Args:
            data: the file.
            max_bytes: its largest size.
            max_ns: its longest duration.
            cpu_s: CPU time that decoding it may take.
            channel: the one channel of its audio that is listened to; None for the mean of all.

        Raises:
            MediaError: no media file, cut off, too large or too long by its header, or without any stream.
        """
        worker = await self._take()
        is_sound = False
        feeding = asyncio.create_task(_feed(worker, _request(data, max_bytes, max_ns, cpu_s, channel), data))
        try:
            try:
                kind, _, content = await _receive(worker)
                clip = DecodedClip(worker, _head(kind, content))
                yield clip
                is_sound = clip.is_read
            except _RefusedError as refused:
                is_sound = True
                raise MediaError(str(refused)) from None
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await self._give_back(worker, is_sound)

    async def close(self) -> None:
        """End the idle workers; those at work end with their blocks."""
        idle, self._idle = self._idle, []
        for worker in idle:
            await _end(worker)

    async def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
        command = (sys.executable, "-m", "server.media.clip_worker")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
        return _Worker(process)

    async def _give_back(self, worker: _Worker, is_sound: bool) -> None:
        worker.clips += 1
        if is_sound and worker.process.returncode is None and worker.clips < _CLIPS_PER_PROCESS:
            self._idle.append(worker)
        else:
            await _end(worker)


def _request(data: bytes, max_bytes: int, max_ns: int, cpu_s: float, channel: int | None) -> bytes:
    return REQUEST.pack(len(data), max_bytes, max_ns, cpu_s, -1 if channel is None else channel)


class _RefusedError(MediaError):
    """What the worker, which is well, says about a file."""


async def _feed(worker: _Worker, *parts: bytes) -> None:
    assert worker.process.stdin is not None
    with suppress(ConnectionError):
        for part in parts:
            worker.process.stdin.write(part)
            await worker.process.stdin.drain()


async def _receive(worker: _Worker) -> tuple[bytes, int, bytes]:
    """Return the next piece.

    Raises:
        _RefusedError: the worker can't read the file.
        MediaError: the worker is gone, or says what makes no sense: a stranger's file may have taken it over.
    """
    try:
        kind, start_ns, size = PIECE.unpack(await worker.output.readexactly(PIECE.size))
        if size > _MAX_PIECE_BYTES:
            raise MediaError(_GONE)
        content = await worker.output.readexactly(size)
    except asyncio.IncompleteReadError:
        raise MediaError(_GONE) from None
    if kind == FAILURE:
        raise _RefusedError(content.decode(errors="replace"))
    return kind, start_ns, content


def _head(kind: bytes, content: bytes) -> dict[str, Any]:
    if kind != HEAD:
        raise MediaError(_GONE)
    head: dict[str, Any] = json.loads(content)
    return head


async def _end(worker: _Worker) -> None:
    with suppress(ProcessLookupError):
        worker.process.kill()
    # asyncio learns of the end only when the pipe, whose reading may be paused, has been read to its end.
    await worker.output.read()
    await worker.process.wait()
