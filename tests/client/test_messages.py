import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moodstream.v1.media_pb2 import MODALITY_AUDIO, MODALITY_VIDEO

from client.durations import to_ns
from client.messages import audio_messages, chunk_pcm, frame_messages, merged, thin_out

MS = 1_000_000


def pcm(start: int, count: int) -> bytes:
    """Samples that tell their own number."""
    return (np.arange(start, start + count) % 30_000).astype("<i2").tobytes()


@settings(deadline=None)  # Of a loaded machine.
@given(
    pieces=st.lists(st.tuples(st.integers(0, 500), st.integers(1, 3000)), min_size=1, max_size=12),
    chunk_samples=st.integers(1, 4000),
)
def test_every_sample_comes_exactly_once_at_its_place(pieces, chunk_samples):
    """Gaps and lengths are drawn; chunks must give back each sample at its number, and end on the grid or at a gap."""
    position, given_pieces, expected = 0, [], {}
    for gap, count in pieces:
        position += gap
        given_pieces.append((position, pcm(position, count)))
        expected |= {number: number % 30_000 for number in range(position, position + count)}
        position += count
    seen: dict[int, int] = {}
    for start, data in chunk_pcm(given_pieces, chunk_samples):
        samples = np.frombuffer(data, dtype="<i2")
        numbers = range(start, start + len(samples))
        assert not seen.keys() & set(numbers)
        seen |= dict(zip(numbers, samples.tolist(), strict=True))
        assert 0 < len(samples) <= chunk_samples
        assert start // chunk_samples == (start + len(samples) - 1) // chunk_samples
    assert seen == expected


def test_audio_messages_are_due_when_their_last_sample_is_said():
    timed = list(audio_messages([(800, pcm(800, 4000))], chunk_ms=100))
    chunks = [message.media for message in timed[:-1]]
    assert [message.due_ns / MS for message in timed] == [100, 200, 300, 300]
    assert [to_ns(chunk.start_offset) / MS for chunk in chunks] == [50, 100, 200]
    assert [chunk.sequence for chunk in chunks] == [0, 1, 2]
    assert b"".join(chunk.data for chunk in chunks) == pcm(800, 4000)
    assert timed[-1].media.modality == MODALITY_AUDIO


def test_no_audio_is_just_an_end():
    timed = list(audio_messages([]))
    assert [message.media.modality for message in timed] == [MODALITY_AUDIO]


def test_frame_messages():
    timed = list(frame_messages([(0, b"a"), (40 * MS, b"b")]))
    assert [message.due_ns for message in timed] == [0, 40 * MS, 40 * MS]
    assert [frame.media.data for frame in timed[:-1]] == [b"a", b"b"]
    assert timed[-1].media.modality == MODALITY_VIDEO


@pytest.mark.parametrize(("native", "kept"), [(10.0, 100), (15.0, 150), (25.0, 150), (29.97, 150), (60.0, 150)])
def test_thin_out_keeps_slow_videos_and_the_mean_rate_of_fast_ones(native, kept):
    frames = [(round(index / native * 1e9), index) for index in range(int(native * 10))]
    thin = list(thin_out(frames, 15.0))
    assert abs(len(thin) - kept) <= 1
    assert thin[0] == (0, 0)
    assert [frame for _, frame in thin] == sorted({frame for _, frame in thin})


def test_merged_is_ordered_and_keeps_the_order_of_streams_on_ties():
    first = frame_messages([(0, b""), (200 * MS, b"")])
    second = audio_messages([(0, pcm(0, 4800))], chunk_ms=100)
    timed = list(merged([first, second]))
    assert [message.due_ns // MS for message in timed] == [0, 100, 200, 200, 200, 300, 300]
    kinds = [type(message.media).__name__ for message in timed]
    assert kinds == [
        "VideoFrame",
        "AudioChunk",
        "VideoFrame",
        "EndOfModality",
        "AudioChunk",
        "AudioChunk",
        "EndOfModality",
    ]
