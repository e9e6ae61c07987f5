"""Decodes one stream of a media file, frame by frame, with its times. It knows neither the other streams nor slots."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import av
from av.container import InputContainer
from av.stream import Disposition

from contract.timing import NS_PER_S
from server.media.errors import MediaError, seconds
from server.media.images import MAX_PIXELS

CONTAINERS: Final = (
    *("mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "mjpeg", "h264", "hevc"),
    *("ogg", "wav", "w64", "aiff", "caf", "au", "flac", "mp3", "aac", "ac3", "amr"),
)
"""Formats that carry their media themselves: a playlist (HLS, concat, DASH) could make the server open other files."""
_STATE_LENGTH: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "wav", "flac")
"""Formats whose header states how long each stream is; elsewhere FFmpeg may have estimated it from what is there."""
_CUT_OFF_NS: Final = NS_PER_S
"""A stream that ends earlier than its header says, by more than this, was cut off."""


@dataclass(frozen=True)
class TimedFrame:
    """A decoded frame and its time in the file."""

    start_ns: int
    end_ns: int
    frame: av.AudioFrame | av.VideoFrame


class ClipStream:
    """The best audio or video stream of a file, read through its own view of the file.

    With a view for each stream the two can be merged by time, however far apart the file has put them.
    """

    def __init__(self, container: InputContainer, stream: av.AudioStream | av.VideoStream) -> None:
        self._container = container
        self._frames = _decoded(container, stream)
        self.first = next(self._frames, None)
        """The first frame; None where nothing could be decoded."""

    def __iter__(self) -> Iterator[TimedFrame]:
        """Yield the frames, once.

        Raises:
            MediaError: the file was cut off or can't be read on. Single packets that can't be decoded are passed over.
        """
        if self.first is not None:
            yield self.first
            yield from self._frames

    def close(self) -> None:
        """Release the file."""
        self._container.close()


def open_stream(
    source: bytes | Path, kind: Literal["audio", "video"], max_bytes: int, max_duration_ns: int
) -> ClipStream | None:
    """Open the best `audio` or `video` stream of a file; None when it has none. Cover pictures are no video.

    Raises:
        MediaError: the file is too large or too long by its own account, is no media file, or its images are too large.
    """
    container = _open(source, max_bytes)
    try:
        stream = container.streams.best(kind)
        if stream is None or stream.disposition & Disposition.attached_pic:
            container.close()
            return None
        assert isinstance(stream, av.AudioStream | av.VideoStream)
        length_ns = _stated_ns(container, stream)
        if length_ns > max_duration_ns:
            raise MediaError(f"the clip is {seconds(length_ns)} long, at most {seconds(max_duration_ns)} are allowed")
        if isinstance(stream, av.VideoStream):
            _bound_pixels(stream)
        stream.codec_context.thread_count = 1
        return ClipStream(container, stream)
    except BaseException:
        container.close()
        raise


def _open(source: bytes | Path, max_bytes: int) -> InputContainer:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > max_bytes:
        raise MediaError(f"the clip has {size} bytes, at most {max_bytes} are allowed")
    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    try:
        return av.open(file, "r", options={"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"the clip of {size} bytes is not a media file that can be read, or is cut off") from error


def _bound_pixels(stream: av.VideoStream) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"the clip's images of {width} x {height} have more than {MAX_PIXELS / 1e6:.1f} million pixels"
        )
    # A stream may change its size later on: the decoder then refuses.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}


def _decoded(container: InputContainer, stream: av.AudioStream | av.VideoStream) -> Iterator[TimedFrame]:
    first_ns: int | None = None
    end_ns = 0
    try:
        for packet in container.demux(stream):
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                continue
            for frame in frames:
                timed = _timed(frame, end_ns)
                first_ns, end_ns = timed.start_ns if first_ns is None else first_ns, timed.end_ns
                yield timed
    except av.FFmpegError as error:
        raise MediaError(f"the clip can't be read beyond {seconds(end_ns)}: {error.strerror}") from error
    length_ns, found_ns = _stated_ns(container, stream), end_ns - (first_ns or 0)
    if length_ns - found_ns > _CUT_OFF_NS:
        raise MediaError(
            f"the clip is cut off: its {stream.type} ends after {seconds(found_ns)} of {seconds(length_ns)}"
        )


def _timed(frame: av.AudioFrame | av.VideoFrame, previous_end_ns: int) -> TimedFrame:
    start_ns, duration_ns = previous_end_ns, 0
    if frame.pts is not None and frame.time_base is not None:
        start_ns = int(frame.pts * frame.time_base * NS_PER_S)
    if isinstance(frame, av.AudioFrame):
        duration_ns = frame.samples * NS_PER_S // frame.sample_rate
    elif frame.duration and frame.time_base is not None:
        duration_ns = int(frame.duration * frame.time_base * NS_PER_S)
    return TimedFrame(start_ns, start_ns + duration_ns, frame)


def _stated_ns(container: InputContainer, stream: av.AudioStream | av.VideoStream) -> int:
    if container.format.name not in _STATE_LENGTH or stream.duration is None or stream.time_base is None:
        return 0
    return int(stream.duration * stream.time_base * NS_PER_S)
