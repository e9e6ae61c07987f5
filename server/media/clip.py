"""Takes a whole media file apart: audio, and the images that the video slots need, in the order of time.

It knows nothing of sessions: what comes out goes into an `AudioTrack` and a `FaceTrack` like the messages of a client.
"""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import numpy as np
from numpy.typing import NDArray

from contract.timing import NS_PER_S, VIDEO_SLOT_NS, samples_to_ns
from server.media.audio import JITTER_NS, MAX_RATE, MIN_RATE, AudioSettings
from server.media.audio_codecs import AudioEncoding
from server.media.clip_stream import ClipStream, open_stream
from server.media.errors import MediaError, seconds
from server.media.images import VideoEncoding, VideoSettings

MAX_CLIP_NS: Final = 600 * NS_PER_S
MAX_CLIP_BYTES: Final = 256 * 1024 * 1024
MAX_SIDE: Final = 640
"""Longer side of the images that come out; larger ones are scaled down."""
CHUNKS_PER_S: Final = 5
_RUNS_BACK_NS: Final = NS_PER_S
"""Images that run back by less are left out (a sloppy muxer); by more, the file's times make no sense."""


@dataclass(frozen=True)
class ClipAudio:
    """A piece of audio; it begins where the previous one ended, or after a gap of the file."""

    start_offset_ns: int
    samples: NDArray[np.float32]
    """[n], mono, at the rate of `Clip.audio`."""

    @property
    def data(self) -> bytes:
        """The samples as `AudioTrack.push` takes them."""
        return self.samples.astype("<f4").tobytes()


@dataclass(frozen=True)
class ClipFrame:
    """The earliest image of a video slot."""

    start_offset_ns: int
    image: NDArray[np.uint8]
    """[H, W, 3], RGB, of the size in `Clip.video`."""

    @property
    def data(self) -> bytes:
        """The pixels as `FaceTrack.push` takes them."""
        return self.image.tobytes()


class Clip:
    """An opened media file; iterate over it once, then close it (or use it in a `with`).

    Offset 0 is the earliest timestamp of both streams: they are shifted together, so that lips and voice stay in step.
    At most one piece of each stream is in memory.
    """

    def __init__(
        self, audio: ClipStream | None, video: ClipStream | None, max_duration_ns: int, channel: int | None = None
    ) -> None:
        first_audio, first_video = (stream.first if stream else None for stream in (audio, video))
        if first_audio is None and first_video is None:
            raise MediaError("the clip has neither audio nor video that could be decoded")
        self._base_ns = min(timed.start_ns for timed in (first_audio, first_video) if timed)
        self._max_ns = max_duration_ns
        self._channel = channel
        self._audio, self._video = audio, video
        self.audio = None if first_audio is None else _audio_settings(first_audio.frame)
        """How `ClipAudio.data` is encoded; None without audio."""
        self.video = None if first_video is None else _video_settings(first_video.frame)
        """How `ClipFrame.data` is encoded; None without video."""

    def __iter__(self) -> Iterator[ClipAudio | ClipFrame]:
        """Yield audio in pieces of about 200 ms and the earliest image of each slot, in the order of their offsets.

        Raises:
            MediaError: the file is cut off, is longer than allowed, or its times run back.
        """
        pieces: Iterator[ClipAudio | ClipFrame] = self._pieces()
        merged = heapq.merge(pieces, self._images(), key=lambda item: item.start_offset_ns)
        yield from merged

    def close(self) -> None:
        """Release the file."""
        for stream in filter(None, (self._audio, self._video)):
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pieces(self) -> Iterator[ClipAudio]:
        if self._audio is None or self.audio is None:
            return
        pending = _PendingAudio(self.audio.sample_rate, self._channel)
        for timed in self._audio:
            assert isinstance(timed.frame, av.AudioFrame)
            yield from pending.push(self._offset(timed.start_ns), timed.frame)
        yield from pending.flush()

    def _images(self) -> Iterator[ClipFrame]:
        if self._video is None or self.video is None:
            return
        slot, reached_ns = -1, 0
        for timed in self._video:
            assert isinstance(timed.frame, av.VideoFrame)
            offset_ns = self._offset(timed.start_ns)
            if offset_ns < reached_ns - _RUNS_BACK_NS:
                raise _runs_back("image", offset_ns, reached_ns)
            reached_ns = max(reached_ns, offset_ns)
            if offset_ns // VIDEO_SLOT_NS > slot:
                slot = offset_ns // VIDEO_SLOT_NS
                yield ClipFrame(offset_ns, _to_rgb(timed.frame, self.video))

    def _offset(self, time_ns: int) -> int:
        offset_ns = time_ns - self._base_ns
        if offset_ns > self._max_ns:
            raise MediaError(f"the clip is longer than {seconds(self._max_ns)}")
        return offset_ns


def read_clip(
    source: bytes | Path,
    max_duration_ns: int = MAX_CLIP_NS,
    max_bytes: int = MAX_CLIP_BYTES,
    channel: int | None = None,
) -> Clip:
    """Open a media file: any container and codec that FFmpeg reads, with audio, video or both.

    Of its audio, `channel` is listened to, or the mean of all.

    Raises:
        MediaError: no media file, cut off, too large or too long by its header, or without any stream.
    """
    with ExitStack() as opened:
        audio = open_stream(source, "audio", max_bytes, max_duration_ns)
        if audio is not None:
            opened.callback(audio.close)
        video = open_stream(source, "video", max_bytes, max_duration_ns)
        if video is not None:
            opened.callback(video.close)
        clip = Clip(audio, video, max_duration_ns, channel)
        opened.pop_all()
        return clip


class _PendingAudio:
    """Gathers decoded frames of any layout into mono pieces of about 200 ms."""

    def __init__(self, rate: int, channel: int | None) -> None:
        self._rate = rate
        self._channel = channel
        self._begin(0)

    def push(self, offset_ns: int, frame: av.AudioFrame) -> Iterator[ClipAudio]:
        ahead_ns = offset_ns - (self._start_ns + samples_to_ns(self._given + self._held, self._rate))
        if ahead_ns <= -JITTER_NS:
            raise _runs_back("audio", offset_ns, offset_ns - ahead_ns)
        if ahead_ns >= JITTER_NS or not self._given + self._held:
            yield from self.flush()
            self._begin(offset_ns)
        self._hold(frame)
        if self._held >= self._rate // CHUNKS_PER_S:
            yield self._take()

    def flush(self) -> Iterator[ClipAudio]:
        self._hold(None)
        if self._held:
            yield self._take()

    def _begin(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._given = 0
        self._frames: list[NDArray[np.float32]] = []
        self._held = 0
        self._convert = av.AudioResampler(format="flt", rate=self._rate)

    def _hold(self, frame: av.AudioFrame | None) -> None:
        try:
            converted = self._convert.resample(frame)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError("the clip's audio changes its format on the way") from error
        for part in converted:
            samples = self._mono(part.to_ndarray().reshape(-1, part.layout.nb_channels).astype(np.float32, copy=False))
            self._frames.append(samples)
            self._held += len(samples)

    def _mono(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one channel, or the mean, as for a session: FFmpeg's own mix is louder and may leave [-1, 1]."""
        if self._channel is None:
            return np.asarray(channels.mean(axis=1, dtype=np.float32))
        if self._channel >= channels.shape[1]:
            raise MediaError(f"the clip's audio has {channels.shape[1]} channels: there is no channel {self._channel}")
        return np.ascontiguousarray(channels[:, self._channel])

    def _take(self) -> ClipAudio:
        piece = ClipAudio(self._start_ns + samples_to_ns(self._given, self._rate), np.concatenate(self._frames))
        self._given += self._held
        self._frames, self._held = [], 0
        return piece


def _runs_back(what: str, offset_ns: int, reached_ns: int) -> MediaError:
    return MediaError(f"the clip's {what} times run back from {seconds(reached_ns)} to {seconds(offset_ns)}")


def _audio_settings(frame: av.AudioFrame | av.VideoFrame) -> AudioSettings:
    assert isinstance(frame, av.AudioFrame)
    return AudioSettings(AudioEncoding.PCM_F32LE, min(max(frame.sample_rate, MIN_RATE), MAX_RATE))


def _video_settings(frame: av.AudioFrame | av.VideoFrame) -> VideoSettings:
    assert isinstance(frame, av.VideoFrame)
    factor = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    width, height = round(frame.width * factor), round(frame.height * factor)
    if frame.rotation % 180:
        width, height = height, width
    return VideoSettings(VideoEncoding.RGB24, width=width, height=height)


def _to_rgb(frame: av.VideoFrame, settings: VideoSettings) -> NDArray[np.uint8]:
    """Scale an image to the clip's size, and turn it as the file's display matrix says (phones)."""
    turns = round(frame.rotation / 90) % 4
    width, height = (settings.height, settings.width) if turns % 2 else (settings.width, settings.height)
    pixels = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, turns), dtype=np.uint8)
