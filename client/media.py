"""Turns any media file that PyAV opens into the messages of a session: PCM chunks, JPEG frames, words.

Audio and video are decoded lazily, each over its own handle of the file, so that a film needs no more memory than a
clip. All offsets count from the earliest start of the streams that are sent.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av import AudioFrame, AudioResampler, VideoFrame
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from moodstream.v1.media_pb2 import (
    AUDIO_ENCODING_PCM_S16LE,
    VIDEO_ENCODING_JPEG,
    AudioConfig,
    TextConfig,
    VideoConfig,
)
from moodstream.v1.session_pb2 import SessionConfig
from numpy.typing import NDArray

from client.clip import Clip, Timed
from client.durations import NS_PER_MS, NS_PER_S
from client.errors import MediaError
from client.messages import AUDIO_RATE_HZ, CHUNK_MS, audio_messages, encode_jpeg, frame_messages, merged, thin_out
from client.transcript import Transcript, read_transcript

MAX_FPS: Final = 15.0
MAX_WIDTH: Final = 640

_GAP_NS: Final = 100 * NS_PER_MS
"""A jump of the timestamps beyond this is a gap in the recording; less is jitter of the container."""


@dataclass(frozen=True)
class MediaOptions:
    """What of a file is sent, and how finely."""

    audio: bool = True
    video: bool = True
    chunk_ms: int = CHUNK_MS
    """Length of an audio message; chunks end on multiples of it, so that no window waits for the rest of one."""
    max_fps: float = MAX_FPS
    """Frames per second at most; a slower video is sent as it is."""

    def __post_init__(self) -> None:
        if not 10 <= self.chunk_ms <= 1000:
            raise ValueError(f"chunk_ms must be 10 to 1000, got {self.chunk_ms}")
        if not 0 < self.max_fps <= 60:
            raise ValueError(f"max_fps must be above 0 and at most 60, got {self.max_fps}")


@dataclass(frozen=True)
class Probe:
    """What a file holds."""

    has_audio: bool
    has_video: bool
    start_ns: int
    """Time of the container at which the clip begins."""
    duration_ns: int


def open_clip(path: str | Path, transcript: str | None = None, options: MediaOptions | None = None) -> Clip:
    """Return a media file as a clip.

    Args:
        path: file that FFmpeg can decode.
        transcript: name of a transcript file, or its words; see `client.transcript`.
        options: what to send; by default everything.

    Raises:
        MediaError: the file or the transcript can't be read, or there is nothing to send.
    """
    path, options = Path(path), options or MediaOptions()
    found = probe(path)
    words = read_transcript(transcript, found.duration_ns) if transcript is not None else None
    config = SessionConfig()
    passes: list[Callable[[], Iterator[Timed]]] = []
    # Of messages that are due together, words go first, then frames: the audio completes the window that shows them.
    if words is not None:
        config.text.CopyFrom(TextConfig())
        passes.append(words.messages)
    if found.has_video and options.video:
        config.video.CopyFrom(VideoConfig(encoding=VIDEO_ENCODING_JPEG))
        passes.append(lambda: frame_messages(_decode_jpegs(path, found.start_ns, options.max_fps)))
    if found.has_audio and options.audio:
        config.audio.CopyFrom(AudioConfig(encoding=AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=AUDIO_RATE_HZ))
        passes.append(lambda: audio_messages(_decode_pcm(path, found.start_ns), options.chunk_ms))
    if not passes:
        raise MediaError(f"{path}: nothing to send, as the file has {_describe(found)}")
    return Clip(path.name, config, found.duration_ns, lambda: merged(open_pass() for open_pass in passes))


def transcript_of(source: str | Path | bytes, transcript: str) -> Transcript:
    """Return a transcript for a media file that is sent as it is; raises MediaError as `open_clip` does."""
    return read_transcript(transcript, probe(source).duration_ns)


def probe(source: str | Path | bytes) -> Probe:
    """Read what a media file, or its bytes, holds; raises MediaError when it is none or has no audio and no video."""
    name = "the media" if isinstance(source, bytes) else source
    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r") as container:
            video = _video_stream(container)
            audio = container.streams.audio[0] if container.streams.audio else None
            present = [stream for stream in (audio, video) if stream is not None]
            start_ns = min((_ticks_ns(stream.start_time, stream.time_base) for stream in present), default=0)
            duration_ns = container.duration * 1000 if container.duration else _measure_ns(container) - start_ns
    except (OSError, av.FFmpegError) as error:
        raise MediaError(f"{name} can't be read: {_reason(error)}") from None
    if not present:
        raise MediaError(f"{name} has no audio and no video")
    return Probe(audio is not None, video is not None, start_ns, duration_ns)


def _describe(found: Probe) -> str:
    kinds = [name for name, present in (("audio", found.has_audio), ("video", found.has_video)) if present]
    return f"only {' and '.join(kinds)}"


def _video_stream(container: InputContainer) -> VideoStream | None:
    """The first moving picture: the cover of a song is a video stream, too."""
    moving = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(moving, None)


def _ticks_ns(ticks: int | None, time_base: Fraction | None) -> int:
    return 0 if ticks is None or time_base is None else int(ticks * time_base * NS_PER_S)


def _measure_ns(container: InputContainer) -> int:
    """Length of a file whose header does not tell it, from its packets."""
    ends = ((p.pts, p.duration or 0, p.time_base) for p in container.demux())
    return max((_ticks_ns(pts + length, time_base) for pts, length, time_base in ends if pts is not None), default=0)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _decode(path: Path, kind: str) -> Iterator[AudioFrame | VideoFrame]:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0] if kind == "audio" else _video_stream(container)
            for frame in container.decode(stream):
                if isinstance(frame, AudioFrame | VideoFrame) and frame.pts is not None:
                    yield frame
    except (OSError, av.FFmpegError) as error:
        raise MediaError(f"{path}: the {kind} can't be decoded: {_reason(error)}") from None


def _decode_pcm(path: Path, origin_ns: int) -> Iterator[tuple[int, bytes]]:
    """Yield number of the first sample, and samples (16 kHz, mono, 16 bit); the number jumps over gaps."""
    expected_ns: int | None = None
    position = 0
    resampler = _resampler()
    for frame in _decode(path, "audio"):
        assert isinstance(frame, AudioFrame)
        time_ns = _ticks_ns(frame.pts, frame.time_base) - origin_ns
        if expected_ns is None or time_ns - expected_ns > _GAP_NS:
            if expected_ns is not None:
                yield from _numbered(resampler.resample(None), position)
            resampler, expected_ns = _resampler(), max(0, time_ns)
            position = round(expected_ns * AUDIO_RATE_HZ / NS_PER_S)
        for start, pcm in _numbered(resampler.resample(frame), position):
            yield start, pcm
            position = start + len(pcm) // 2
        expected_ns += frame.samples * NS_PER_S // frame.sample_rate
    if expected_ns is not None:
        yield from _numbered(resampler.resample(None), position)


def _resampler() -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=AUDIO_RATE_HZ)


def _numbered(frames: Iterable[AudioFrame], position: int) -> Iterator[tuple[int, bytes]]:
    for frame in frames:
        yield position, frame.to_ndarray().tobytes()
        position += frame.samples


def _decode_jpegs(path: Path, origin_ns: int, max_fps: float) -> Iterator[tuple[int, bytes]]:
    frames = ((_ticks_ns(f.pts, f.time_base) - origin_ns, f) for f in _decode(path, "video"))
    for time_ns, frame in thin_out(frames, max_fps):
        assert isinstance(frame, VideoFrame)
        yield time_ns, encode_jpeg(_upright(frame))


def _upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return uint8 [H, W, 3], BGR, at most `MAX_WIDTH` wide, turned as the file says (phones record sideways)."""
    width = min(frame.width, MAX_WIDTH)
    image = frame.to_ndarray(format="bgr24", width=width, height=max(1, round(frame.height * width / frame.width)))
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarters), dtype=np.uint8)
