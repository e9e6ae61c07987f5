import io
from itertools import pairwise

import numpy as np
import pytest
import soundfile as sf
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.timing import NS_PER_S, ns_to_samples, samples_to_ns
from server.media.audio import AudioPiece, AudioSettings, AudioTrack
from server.media.audio_codecs import AudioEncoding
from server.media.errors import MediaError

MS = 1_000_000
F32 = AudioEncoding.PCM_F32LE
Samples = NDArray[np.float32]


def noise(samples: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, samples).astype(np.float32)


def joined(pieces: list[AudioPiece]) -> Samples:
    """The samples of pieces that must follow each other without a gap."""
    for before, after in pairwise(pieces):
        assert after.start_sample == before.start_sample + len(before.samples)
    return np.concatenate([piece.samples for piece in pieces])


def push_all(track: AudioTrack, samples: Samples, rate: int, cuts: list[int], jitter_ns: int = 0) -> list[AudioPiece]:
    """Send `samples` in chunks of the given lengths, over and over; offsets are off by up to `jitter_ns`, in turns."""
    pieces, at, number = [], 0, 0
    while at < len(samples):
        chunk = samples[at : at + cuts[number % len(cuts)]]
        offset = samples_to_ns(at, rate) + (0 if at == 0 else (-1) ** number * jitter_ns)
        pieces += track.push(max(0, offset), chunk.tobytes())
        at, number = at + len(chunk), number + 1
    return pieces + track.flush()


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([8_000, 16_000, 44_100, 48_000, 11_025]),
    cuts_ms=st.lists(st.integers(10, 1000), min_size=1, max_size=6),
    length_ms=st.integers(20, 2500),
    jitter_ms=st.integers(0, 19),
)
def test_cuts_and_jitter_change_no_sample(rate: int, cuts_ms: list[int], length_ms: int, jitter_ms: int) -> None:
    samples = noise(rate * length_ms // 1000)
    cuts = [rate * ms // 1000 for ms in cuts_ms]
    pieces = push_all(AudioTrack(AudioSettings(F32, rate)), samples, rate, cuts, jitter_ms * MS)

    expected = samples if rate == 16_000 else soxr.resample(samples, rate, 16_000)
    assert pieces[0].start_sample == 0
    np.testing.assert_array_equal(joined(pieces), expected)
    assert len(expected) == (2 * len(samples) * 16_000 + rate) // (2 * rate)


def test_a_tone_keeps_its_place_and_pitch() -> None:
    rate = 44_100
    track = AudioTrack(AudioSettings(F32, rate))
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    out = joined(push_all(track, tone, rate, [rate // 50]))
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    np.testing.assert_allclose(out[500:-500], expected[500:-500], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([8_000, 16_000, 48_000]),
    first_ms=st.integers(30, 800),
    gap_ms=st.integers(20, 5000),
    cut_ms=st.integers(10, 300),
)
def test_a_gap_begins_a_new_stretch_at_its_own_place(rate: int, first_ms: int, gap_ms: int, cut_ms: int) -> None:
    track = AudioTrack(AudioSettings(F32, rate))
    before, after = noise(rate * first_ms // 1000, 1), noise(rate // 5, 2)
    start_ns = samples_to_ns(len(before), rate) + gap_ms * MS
    pieces, cut = [], rate * cut_ms // 1000
    for at in range(0, len(before), cut):
        pieces += track.push(samples_to_ns(at, rate), before[at : at + cut].tobytes())
    pieces += track.push(start_ns, after.tobytes()) + track.flush()

    seam = next(number for number, piece in enumerate(pieces) if piece.start_sample >= ns_to_samples(start_ns))
    assert pieces[seam].start_sample == ns_to_samples(start_ns)
    for part, source in ((pieces[:seam], before), (pieces[seam:], after)):
        expected = source if rate == 16_000 else soxr.resample(source, rate, 16_000)
        np.testing.assert_array_equal(joined(part), expected)
    assert track.end_ns == start_ns + samples_to_ns(len(after), rate)


def test_the_first_chunk_lies_where_its_offset_says() -> None:
    track = AudioTrack(AudioSettings(F32, 16_000))
    [piece] = track.push(5 * MS, noise(1600).tobytes())
    assert piece.start_sample == 80
    assert track.end_ns == 105 * MS


@pytest.mark.parametrize("ppm", [-3000, -100, 100, 1000, 3000])
@pytest.mark.parametrize(("rate", "chunk_ms"), [(16_000, 20), (48_000, 100), (16_000, 250)])
def test_the_skew_of_a_sound_card_is_followed(ppm: int, rate: int, chunk_ms: int) -> None:
    track = AudioTrack(AudioSettings(F32, rate))
    chunk = np.full(rate * chunk_ms // 1000, 0.25, np.float32).tobytes()
    jitter = np.random.default_rng(0)
    pieces = []
    seconds = 300 if abs(ppm) == 100 else 30
    for number in range(seconds * 1000 // chunk_ms):
        offset = number * chunk_ms * MS * (1_000_000 + ppm) // 1_000_000 + int(jitter.integers(0, 4 * MS))
        pieces += track.push(offset, chunk)
        assert abs(track.end_ns - chunk_ms * MS - offset) < 20 * MS
    pieces += track.flush()
    samples = joined(pieces)
    assert np.abs(samples[1000:-1000] - 0.25).max() < 1e-4, "no seam is heard"


def test_one_channel_of_several_is_listened_to() -> None:
    stereo = np.stack([noise(1600, 1), noise(1600, 2)], axis=1)
    [left], [right], [both] = (
        AudioTrack(AudioSettings(F32, 16_000, 2, channel)).push(0, stereo.tobytes()) for channel in (0, 1, None)
    )
    np.testing.assert_array_equal(left.samples, stereo[:, 0])
    np.testing.assert_array_equal(right.samples, stereo[:, 1])
    np.testing.assert_allclose(both.samples, stereo.mean(axis=1), atol=1e-7)
    with pytest.raises(MediaError, match="channel must be 0 to 1, got 2"):
        AudioSettings(F32, 16_000, 2, 2)


def test_drift_beyond_any_sound_card_is_a_gap() -> None:
    # Offsets of a clock that runs 1 % slow against the samples: 20 ms are reached after two seconds.
    track = AudioTrack(AudioSettings(F32, 16_000))
    pieces = [track.push(number * 101 * MS, noise(1600).tobytes())[0] for number in range(25)]
    starts = [piece.start_sample for piece in pieces]
    assert starts[:20] == [1600 * number for number in range(20)]
    assert starts[20:] == [ns_to_samples(20 * 101 * MS) + 1600 * number for number in range(5)]


def test_offsets_that_run_back_are_refused_and_the_stream_goes_on() -> None:
    track = AudioTrack(AudioSettings(F32, 16_000))
    track.push(0, noise(16_000).tobytes())
    track.push(NS_PER_S, noise(11_200).tobytes())
    with pytest.raises(MediaError, match=r"start_offset 1\.2 s runs back: this stream has reached 1\.7 s"):
        track.push(1_200 * MS, noise(1600).tobytes())
    [piece] = track.push(1_700 * MS, noise(1600).tobytes())
    assert piece.start_sample == 27_200


@pytest.mark.parametrize(
    ("offset_ns", "message"),
    [(-1, "must not be negative"), (61 * NS_PER_S, r"lies 61 s ahead of 0 s, at most 60 s")],
)
def test_offsets_out_of_bounds(offset_ns: int, message: str) -> None:
    track = AudioTrack(AudioSettings(F32, 16_000))
    with pytest.raises(MediaError, match=message):
        track.push(offset_ns, noise(160).tobytes())
    assert track.end_ns == 0


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_rejected_chunk_leaves_a_gap_and_nothing_else(rate: int) -> None:
    samples = noise(rate)
    fifth = rate // 5
    chunks = [samples[at : at + fifth].tobytes() for at in range(0, rate, fifth)]
    broken, skipping = AudioTrack(AudioSettings(F32, rate)), AudioTrack(AudioSettings(F32, rate))
    for number, chunk in enumerate(chunks):
        offset = number * 200 * MS
        if number == 2:
            with pytest.raises(MediaError, match="whole samples"):
                broken.push(offset, chunk[:-1])
            continue
        got, expected = broken.push(offset, chunk), skipping.push(offset, chunk)
        assert [piece.start_sample for piece in got] == [piece.start_sample for piece in expected]
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)


def test_after_a_flush_the_stream_may_go_on_without_overlap() -> None:
    track = AudioTrack(AudioSettings(F32, 16_000))
    track.push(0, noise(1600).tobytes())
    assert track.flush() == []
    assert track.flush() == []
    assert track.end_ns == 100 * MS
    [piece] = track.push(95 * MS, noise(1600).tobytes())
    assert piece.start_sample == 1600


def test_flac_chunks_give_the_same_as_their_pcm() -> None:
    samples = (noise(48_000) * 32767).astype(np.int16)
    flac, pcm = (AudioTrack(AudioSettings(kind, 48_000)) for kind in (AudioEncoding.FLAC, AudioEncoding.PCM_S16LE))
    out: dict[str, list[AudioPiece]] = {"flac": [], "pcm": []}
    for number, at in enumerate(range(0, 48_000, 9600)):
        file = io.BytesIO()
        sf.write(file, samples[at : at + 9600], 48_000, format="FLAC", subtype="PCM_16")
        out["flac"] += flac.push(number * 200 * MS, file.getvalue())
        out["pcm"] += pcm.push(number * 200 * MS, samples[at : at + 9600].tobytes())
    np.testing.assert_array_equal(joined(out["flac"] + flac.flush()), joined(out["pcm"] + pcm.flush()))


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "message"),
    [
        (F32, 7_999, 1, "8000 to 48000 Hz, got 7999"),
        (F32, 48_001, 1, "8000 to 48000 Hz"),
        (F32, 16_000, 0, "1 to 8 channels, got 0"),
        (F32, 16_000, 9, "1 to 8 channels"),
        (AudioEncoding.OPUS, 48_000, 3, "at most 2 channels, got 3"),
    ],
)
def test_settings_are_checked(encoding: AudioEncoding, rate: int, channels: int, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        AudioSettings(encoding, rate, channels)
