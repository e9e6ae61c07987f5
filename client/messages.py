"""Makes the messages of a session out of samples, images and words. It knows no files."""

import heapq
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import cv2
import numpy as np
from moodstream.v1.media_pb2 import MODALITY_AUDIO, MODALITY_VIDEO, AudioChunk, Modality, VideoFrame
from moodstream.v1.session_pb2 import EndOfModality
from numpy.typing import NDArray

from client.clip import Timed
from client.durations import NS_PER_MS, NS_PER_S, to_duration
from client.errors import MediaError

AUDIO_RATE_HZ: Final = 16_000
CHUNK_MS: Final = 100
JPEG_QUALITY: Final = 80

_SAMPLE_BYTES: Final = 2
_FRAME_JITTER_NS: Final = NS_PER_MS

_Frame = TypeVar("_Frame")


def merged(streams: Iterable[Iterator[Timed]]) -> Iterator[Timed]:
    """Merge streams of messages, each ordered by `due_ns`, into one; ties go in the order of the streams."""
    return heapq.merge(*streams, key=lambda timed: timed.due_ns)


def chunk_pcm(pieces: Iterable[tuple[int, bytes]], chunk_samples: int) -> Iterator[tuple[int, bytes]]:
    """Cut samples into chunks that end on multiples of `chunk_samples`, or at a gap.

    Args:
        pieces: number of the first sample and 16-bit samples, in order; a jump of the number is a gap.
        chunk_samples: length of a chunk.

    Yields:
        Number of the first sample, and the samples. Every sample comes exactly once.
    """
    start, buffered = 0, bytearray()
    for piece_start, pcm in pieces:
        if piece_start != start + len(buffered) // _SAMPLE_BYTES:
            if buffered:
                yield start, bytes(buffered)
            start, buffered = piece_start, bytearray()
        buffered += pcm
        while len(buffered) >= (size := _SAMPLE_BYTES * (chunk_samples - start % chunk_samples)):
            yield start, bytes(buffered[:size])
            del buffered[:size]
            start += size // _SAMPLE_BYTES
    if buffered:
        yield start, bytes(buffered)


def audio_messages(pieces: Iterable[tuple[int, bytes]], chunk_ms: int = CHUNK_MS) -> Iterator[Timed]:
    """Turn 16 kHz 16-bit samples, as for `chunk_pcm`, into audio messages and the end of the modality."""
    end_ns = 0
    for sequence, (start, pcm) in enumerate(chunk_pcm(pieces, AUDIO_RATE_HZ * chunk_ms // 1000)):
        end_ns = (start + len(pcm) // _SAMPLE_BYTES) * NS_PER_S // AUDIO_RATE_HZ
        start_offset = to_duration(start * NS_PER_S // AUDIO_RATE_HZ)
        yield Timed(end_ns, AudioChunk(sequence=sequence, start_offset=start_offset, data=pcm))
    yield _end_of(MODALITY_AUDIO, end_ns)


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return the JPEG of an image uint8 [H, W, 3], BGR."""
    ok, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not ok:
        raise MediaError(f"an image of {image.shape[1]} x {image.shape[0]} can't be encoded as JPEG")
    return bytes(data)


def frame_messages(jpegs: Iterable[tuple[int, bytes]]) -> Iterator[Timed]:
    """Turn times (ns) and JPEGs into video messages and the end of the modality."""
    time_ns = 0
    for sequence, (time_ns, jpeg) in enumerate(jpegs):
        yield Timed(time_ns, VideoFrame(sequence=sequence, start_offset=to_duration(time_ns), data=jpeg))
    yield _end_of(MODALITY_VIDEO, time_ns)


def thin_out(frames: Iterable[tuple[int, _Frame]], max_fps: float) -> Iterator[tuple[int, _Frame]]:
    """Keep the first frame of each interval of 1 / `max_fps`, counted from 0; a slower video stays as it is."""
    last = -1
    for time_ns, frame in frames:
        interval = int((time_ns + _FRAME_JITTER_NS) * max_fps / NS_PER_S)
        if interval > last:
            last = interval
            yield time_ns, frame


def _end_of(modality: "Modality.ValueType", due_ns: int) -> Timed:
    return Timed(due_ns, EndOfModality(modality=modality))
