import io
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from server.media.audio import AudioSettings, AudioTrack
from server.media.audio_codecs import AudioEncoding, OpusDecoder, make_decoder
from server.media.errors import MediaError

RATE = 16_000
MS = 1_000_000
Samples = NDArray[np.float32]


def tone(samples: int, rate: int = RATE, hz: float = 440) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / rate)).astype(np.float32)


def flac(samples: Samples, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    sf.write(file, samples, rate, format="FLAC", subtype=subtype)
    return file.getvalue()


def opus_packets(samples: Samples, channels: int = 1) -> list[bytes]:
    """Encode samples at 48 kHz, [n, channels], to raw packets of 20 ms."""
    layout = "mono" if channels == 1 else "stereo"
    codec = av.AudioCodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = 48_000, layout, "flt", 64_000
    packets = []
    for at in range(0, len(samples) - 959, 960):
        frame = av.AudioFrame.from_ndarray(samples[at : at + 960].reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts = 48_000, at
        packets += codec.encode(frame)
    return [bytes(packet) for packet in packets]


def decode(
    encoding: AudioEncoding, data: bytes, channels: int = 1, rate: int = RATE, max_samples: int = 80_000
) -> Samples:
    return make_decoder(encoding, rate, channels).decode(data, max_samples)


def test_s16_covers_the_full_scale() -> None:
    samples = decode(AudioEncoding.PCM_S16LE, np.array([-32768, 0, 16384, 32767], "<i2").tobytes())
    np.testing.assert_array_equal(samples, np.float32([-1, 0, 0.5, 32767 / 32768]))


def test_channels_are_averaged() -> None:
    interleaved = np.array([[0.5, -0.5, 0.3], [1, 1, -0.5]], "<f4")
    np.testing.assert_allclose(
        decode(AudioEncoding.PCM_F32LE, interleaved.tobytes(), channels=3), interleaved.mean(axis=1), atol=1e-7
    )


def test_mulaw_equals_ffmpeg_for_every_code() -> None:
    codec = av.AudioCodecContext.create("pcm_mulaw", "r")
    codec.sample_rate, codec.layout = 8000, "mono"
    expected = codec.decode(av.Packet(bytes(range(256))))[0].to_ndarray().reshape(-1) / 32768
    np.testing.assert_array_equal(
        decode(AudioEncoding.MULAW, bytes(range(256)), rate=8000), expected.astype(np.float32)
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "sample 17 of the chunk is NaN"), (-np.inf, "sample 17 of the chunk is infinite"), (30000, "is 30000")],
)
def test_floats_that_are_no_audio(value: float, message: str) -> None:
    samples = tone(100)
    samples[17] = value
    with pytest.raises(MediaError, match=message):
        decode(AudioEncoding.PCM_F32LE, samples.tobytes())


def test_floats_a_little_too_loud_are_clipped() -> None:
    np.testing.assert_array_equal(
        decode(AudioEncoding.PCM_F32LE, np.array([1.5, -7.9, 0.2], "<f4").tobytes()), np.float32([1, -1, 0.2])
    )


@pytest.mark.parametrize(
    ("encoding", "width"), [(AudioEncoding.PCM_S16LE, 2), (AudioEncoding.PCM_F32LE, 4), (AudioEncoding.MULAW, 1)]
)
def test_pcm_must_be_whole_present_and_short_enough(encoding: AudioEncoding, width: int) -> None:
    with pytest.raises(MediaError, match="audio chunk is empty"):
        decode(encoding, b"")
    with pytest.raises(MediaError, match=f"41 bytes does not hold whole samples: .* takes {2 * width} bytes"):
        decode(encoding, bytes(41), channels=2)
    with pytest.raises(MediaError, match=r"of 1 s is longer than 0\.5 s"):
        decode(encoding, bytes(RATE * width), max_samples=RATE // 2)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_flac_round_trip(subtype: str) -> None:
    stereo = np.stack([tone(8000), tone(8000, hz=550)], axis=1)
    out = decode(AudioEncoding.FLAC, flac(stereo, subtype=subtype), channels=2)
    np.testing.assert_allclose(out, stereo.mean(axis=1), atol=1e-4)


def test_flac_that_disagrees_with_the_session() -> None:
    with pytest.raises(
        MediaError, match=r"says 44100 Hz and 1 channel\(s\), the session was opened with 16000 Hz and 1"
    ):
        decode(AudioEncoding.FLAC, flac(tone(4410, 44_100), 44_100))
    with pytest.raises(MediaError, match=r"says 16000 Hz and 2 channel\(s\)"):
        decode(AudioEncoding.FLAC, flac(np.stack([tone(800)] * 2, axis=1)))


@pytest.mark.parametrize("part", [0.999, 0.5, 0.05])
def test_truncated_flac(part: float) -> None:
    data = flac(np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32))
    with pytest.raises(MediaError, match="truncated"):
        decode(AudioEncoding.FLAC, data[: int(len(data) * part)])


def test_corrupt_flac() -> None:
    data = bytearray(flac(np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(MediaError, match="truncated or corrupt"):
        decode(AudioEncoding.FLAC, bytes(data))


def test_flac_header_bounds_the_length_before_decoding() -> None:
    # Ten minutes of silence take a few kilobytes.
    bomb = flac(np.zeros(600 * RATE, np.float32))
    assert len(bomb) < 1 << 20
    with pytest.raises(MediaError, match=r"of 600 s is longer than 5 s"):
        decode(AudioEncoding.FLAC, bomb)


@pytest.mark.parametrize("data", [b"", b"fLaC", b"RIFF" + bytes(100)])
def test_what_is_no_flac(data: bytes) -> None:
    with pytest.raises(MediaError, match="not a FLAC file"):
        decode(AudioEncoding.FLAC, data)


def test_flac_without_a_length_is_refused() -> None:
    data = bytearray(flac(tone(800)))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    with pytest.raises(MediaError, match="does not say how many samples"):
        decode(AudioEncoding.FLAC, bytes(data))


@pytest.mark.parametrize("channels", [1, 2])
def test_opus_round_trip(channels: int) -> None:
    source = tone(48_000, 48_000)
    decoder = OpusDecoder(channels)
    packets = opus_packets(np.repeat(source[:, None], channels, axis=1), channels)
    out = np.concatenate([decoder.decode(packet, 48_000) for packet in packets])
    # The encoder's look-ahead delays the sound by 312 samples.
    start, length = 4800, 24_000
    error = out[start + 312 : start + 312 + length] - source[start : start + length]
    assert np.sqrt(np.mean(error**2)) < 0.02


def test_opus_packets_follow_each_other_and_a_lost_one_is_a_gap() -> None:
    packets = opus_packets(tone(48_000, 48_000)[:, None])
    track = AudioTrack(AudioSettings(AudioEncoding.OPUS, 48_000))
    pieces = []
    for number, packet in enumerate(packets):
        if number != 20:
            pieces += track.push(number * 20 * MS, packet)
    pieces += track.flush()
    gaps = [
        (before.start_sample + len(before.samples), after.start_sample)
        for before, after in pairwise(pieces)
        if after.start_sample != before.start_sample + len(before.samples)
    ]
    assert gaps == [(20 * 320, 21 * 320)]


def test_after_a_corrupt_opus_packet_the_stream_goes_on() -> None:
    packets = opus_packets(tone(9600, 48_000)[:, None])
    decoder = OpusDecoder(1)
    decoder.decode(packets[0], 48_000)
    with pytest.raises(MediaError, match="not a valid Opus packet"):
        decoder.decode(b"\xff\xff\xff", 48_000)
    with pytest.raises(MediaError, match="Opus packet is empty"):
        decoder.decode(b"", 48_000)
    fresh = OpusDecoder(1)
    np.testing.assert_array_equal(decoder.decode(packets[1], 48_000), fresh.decode(packets[1], 48_000))
