"""Decodes one message of audio to mono float32. It knows neither offsets nor the session: see `audio.py`."""

import io
import struct
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Protocol

import av
import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from server.media.errors import MediaError

Samples = NDArray[np.float32]
OPUS_RATE: Final = 48_000
OPUS_MAX_CHANNELS: Final = 2
FLOAT_BOUND: Final = 8.0
"""Float samples beyond [-1, 1] are clipped; beyond this bound they are not audio in [-1, 1] at all."""


class AudioEncoding(StrEnum):
    """How a message's bytes are to be read."""

    PCM_S16LE = "pcm_s16le"
    PCM_F32LE = "pcm_f32le"
    MULAW = "mulaw"
    FLAC = "flac"
    OPUS = "opus"


class AudioDecoder(Protocol):
    """Decodes the messages of one stream, in their order."""

    rate: int
    """Samples per second of what `decode` returns."""

    def decode(self, data: bytes, max_samples: int) -> Samples:
        """Return float32 [n] of the chosen channel, or the mean of all, 1 <= n <= `max_samples`.

        Raises:
            MediaError: the data is not what the settings say, or longer than `max_samples`.
        """
        ...

    def reset(self) -> None:
        """Forget what came before: the next message does not follow the previous one."""
        ...


class PcmDecoder:
    """Interleaved samples of a fixed width. Stateless."""

    def __init__(self, encoding: AudioEncoding, rate: int, channels: int, channel: int | None = None) -> None:
        self.rate = rate
        self._encoding = encoding
        self._channels = channels
        self._channel = channel
        self._width, self._to_float = _PCM[encoding]

    def decode(self, data: bytes, max_samples: int) -> Samples:
        """See `AudioDecoder`. A message must hold whole samples of all channels."""
        step = self._width * self._channels
        if len(data) % step:
            raise MediaError(
                f"audio chunk of {len(data)} bytes does not hold whole samples: "
                f"{self._encoding} with {self._channels} channel(s) takes {step} bytes a sample"
            )
        _check_length(len(data) // step, max_samples, self.rate)
        return _mix(self._to_float(data).reshape(-1, self._channels), self._channel)

    def reset(self) -> None:
        """Nothing is kept from one message to the next."""


class FlacDecoder:
    """Each message is one complete FLAC file whose header states the number of samples. Stateless."""

    def __init__(self, rate: int, channels: int, channel: int | None = None) -> None:
        self.rate = rate
        self._channels = channels
        self._channel = channel

    def decode(self, data: bytes, max_samples: int) -> Samples:
        """See `AudioDecoder`. The header is checked before anything is decoded."""
        rate, channels, total = _flac_header(data)
        if (rate, channels) != (self.rate, self._channels):
            raise MediaError(
                f"FLAC header says {rate} Hz and {channels} channel(s), "
                f"the session was opened with {self.rate} Hz and {self._channels}"
            )
        _check_length(total, max_samples, rate)
        try:
            samples, _ = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
        except sf.LibsndfileError as error:
            raise MediaError(f"FLAC data is truncated or corrupt: {str(error).strip() or 'decoder lost'}") from error
        if len(samples) != total:
            raise MediaError(f"FLAC data is truncated: {len(samples)} of {total} samples")
        return _mix(samples, self._channel)

    def reset(self) -> None:
        """Nothing is kept from one message to the next."""


class OpusDecoder:
    """Raw Opus packets (RFC 6716), decoded at 48 kHz by libopus. Its state runs from packet to packet.

    The encoder's look-ahead (6.5 ms with libopus) is part of the decoded audio, as in WebRTC. Packets that never came
    are a gap: nothing is made up for them.
    """

    rate = OPUS_RATE

    def __init__(self, channels: int, channel: int | None = None) -> None:
        if channels > OPUS_MAX_CHANNELS:
            raise MediaError(f"raw Opus packets carry at most {OPUS_MAX_CHANNELS} channels, got {channels}")
        self._channels = channels
        self._channel = channel
        self.reset()

    def decode(self, data: bytes, max_samples: int) -> Samples:
        """See `AudioDecoder`. After an error the next packet is decoded as a first one."""
        if not data:
            raise MediaError("Opus packet is empty")
        try:
            frames = self._codec.decode(av.Packet(data))
        except av.FFmpegError as error:
            self.reset()
            raise MediaError(f"not a valid Opus packet ({len(data)} bytes)") from error
        interleaved = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames] or [np.zeros(0, np.int16)])
        samples = interleaved.reshape(-1, self._channels).astype(np.float32) / 32768
        _check_length(len(samples), max_samples, OPUS_RATE)
        return _mix(samples, self._channel)

    def reset(self) -> None:
        """Start over with a fresh decoder."""
        codec = av.AudioCodecContext.create("libopus", "r")
        # Identification header (RFC 7845, 5.1): version, channels, pre-skip, input rate, gain, mapping family.
        codec.extradata = b"OpusHead" + struct.pack("<BBHIhB", 1, self._channels, 0, OPUS_RATE, 0, 0)
        self._codec = codec


def make_decoder(encoding: AudioEncoding, rate: int, channels: int, channel: int | None = None) -> AudioDecoder:
    """Return the decoder of one stream, which listens to one `channel`, or to the mean of all.

    Raises:
        MediaError: the encoding can't carry that many channels.
    """
    if encoding is AudioEncoding.FLAC:
        return FlacDecoder(rate, channels, channel)
    if encoding is AudioEncoding.OPUS:
        return OpusDecoder(channels, channel)
    return PcmDecoder(encoding, rate, channels, channel)


def _check_length(samples: int, max_samples: int, rate: int) -> None:
    if not samples:
        raise MediaError("audio chunk is empty")
    if samples > max_samples:
        raise MediaError(f"audio chunk of {samples / rate:.6g} s is longer than {max_samples / rate:.6g} s")


def _mix(samples: Samples, channel: int | None) -> Samples:
    """One channel, or the mean of all, [n, channels] -> [n]."""
    whole = samples.shape[1] > 1 and channel is None
    mixed: Samples = samples.mean(axis=1, dtype=np.float32) if whole else samples[:, channel or 0]
    return mixed


def _from_s16(data: bytes) -> Samples:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def _from_f32(data: bytes) -> Samples:
    samples = np.frombuffer(data, "<f4").astype(np.float32)
    bad = ~(np.abs(samples) <= FLOAT_BOUND)
    if bad.any():
        index = int(bad.argmax())
        value = samples[index]
        if np.isfinite(value):
            raise MediaError(f"sample {index} of the chunk is {value:g}: float samples must lie in [-1, 1]")
        raise MediaError(f"sample {index} of the chunk is {'NaN' if np.isnan(value) else 'infinite'}")
    return np.clip(samples, -1, 1)


def _mulaw_table() -> Samples:
    """The 256 values of ITU-T G.711 mu-law, scaled to [-1, 1]. The bits come inverted: sign, 3 exponent, 4 mantissa."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = ((mantissa.astype(np.int32) * 2 + 33) << exponent) - 33
    return (np.where(code & 0x80, -magnitude, magnitude) * 4 / 32768).astype(np.float32)


_MULAW: Final = _mulaw_table()


def _from_mulaw(data: bytes) -> Samples:
    return _MULAW[np.frombuffer(data, np.uint8)]


_PCM: Final[Mapping[AudioEncoding, tuple[int, Callable[[bytes], NDArray[Any]]]]] = {
    AudioEncoding.PCM_S16LE: (2, _from_s16),
    AudioEncoding.PCM_F32LE: (4, _from_f32),
    AudioEncoding.MULAW: (1, _from_mulaw),
}
"""Bytes per sample, and how they become float32."""


def _flac_header(data: bytes) -> tuple[int, int, int]:
    """Return rate, channels and samples per channel from STREAMINFO (RFC 9639, 8.2)."""
    if len(data) < 42 or data[:4] != b"fLaC" or data[4] & 0x7F:
        raise MediaError(f"not a FLAC file ({len(data)} bytes): each message must be a complete one")
    packed = int.from_bytes(data[18:26], "big")
    total = packed & ((1 << 36) - 1)
    if not total:
        raise MediaError("FLAC header does not say how many samples follow: finish the file before sending it")
    return packed >> 44, ((packed >> 41) & 7) + 1, total
