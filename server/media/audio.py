"""One session's audio: messages in, mono float32 at 16 kHz on the session clock out.

Synchronous CPU code, one object per session, fed in the order of the sequence numbers. It knows no windows, no models
and no protocol.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from contract.timing import NS_PER_S, SAMPLE_RATE, ns_to_samples, samples_to_ns
from server.media.audio_codecs import AudioEncoding, make_decoder
from server.media.errors import MediaError, RunsBackError, seconds

MIN_RATE: Final = 8_000
MAX_RATE: Final = 48_000
MAX_CHANNELS: Final = 8
JITTER_NS: Final = 20_000_000
"""A chunk whose offset differs by less than this from the end of the previous one follows it without a seam.

So rounded offsets and a trembling clock change no result, and the loss of one usual Opus packet (20 ms) still shows.
"""
_SKEW_AFTER_NS: Final = 2 * NS_PER_S
_SKEW_CHUNKS: Final = 8
"""How long, and over how many chunks, the offsets are averaged before the audio is made to follow them."""
_SKEW_NS: Final = 8_000_000
"""Mean difference of the offsets from which the audio follows them: trembling alone has none."""
_SKEW_RATE: Final = 0.005
"""Largest change of speed with which it follows: a fifth of what is audible as pitch at most."""


@dataclass(frozen=True)
class AudioSettings:
    """What a session said about its audio; raises MediaError when it can't be.

    Opus decodes to 48 kHz always: there the rate is only informative.
    """

    encoding: AudioEncoding
    sample_rate: int
    channels: int = 1
    channel: int | None = None
    """The one that is listened to; None for the mean of all."""

    def __post_init__(self) -> None:
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            raise MediaError(f"audio sample rate must be {MIN_RATE} to {MAX_RATE} Hz, got {self.sample_rate}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise MediaError(f"audio must have 1 to {MAX_CHANNELS} channels, got {self.channels}")
        if self.channel is not None and not 0 <= self.channel < self.channels:
            raise MediaError(f"audio channel must be 0 to {self.channels - 1}, got {self.channel}")
        make_decoder(self.encoding, self.sample_rate, self.channels)


@dataclass(frozen=True)
class AudioPiece:
    """Contiguous audio at 16 kHz."""

    start_sample: int
    """Session sample index (16 kHz) of the first sample."""
    samples: NDArray[np.float32]
    """[n], n >= 1, mono."""


class AudioTrack:
    """Decodes, places and resamples the chunks of one session.

    A chunk that begins where the previous one ended (within `JITTER_NS`) continues it, whatever its own offset says.
    Where the offsets move away steadily, since the sound card's clock is not the sender's, the audio is played a little
    slower or faster until it has caught up: skews of up to 4000 ppm are followed. Otherwise how the audio was cut into
    chunks changes no sample. Of a stream that is not at 16 kHz the resampler holds back the newest
    audio (soxr HQ: at most 115 ms at 8 kHz, 40 ms at 44.1 and 48 kHz); it comes with later chunks or `flush`.
    """

    def __init__(
        self, settings: AudioSettings, max_chunk_ns: int = 5 * NS_PER_S, max_gap_ns: int = 60 * NS_PER_S
    ) -> None:
        self._decoder = make_decoder(settings.encoding, settings.sample_rate, settings.channels, settings.channel)
        self._max_samples = ns_to_samples(max_chunk_ns, self._decoder.rate)
        self._max_gap_ns = max_gap_ns
        self._run: _Run | None = None
        self._reached_ns = 0

    @property
    def end_ns(self) -> int:
        """Session time up to which audio has been taken in; 0 at first. Gaps before it are passed, not filled."""
        return self._run.end_ns if self._run else self._reached_ns

    def push(self, start_offset_ns: int, data: bytes) -> list[AudioPiece]:
        """Take in the next chunk and return the audio that has become ready, oldest first.

        Raises:
            MediaError: the chunk is not what the settings say, is empty or too long, lies before what was taken in, or
                too far after it. The track is then as it was, and the chunk's place becomes a gap (a rejected chunk
                shorter than `JITTER_NS` is closed up).
        """
        follows = self._follows(start_offset_ns)
        if not follows:
            self._decoder.reset()
        samples = self._decoder.decode(data, self._max_samples)
        pieces = [] if follows else self.flush()
        if self._run is None:
            self._run = _Run(max(start_offset_ns, self._reached_ns), self._decoder.rate)
        return pieces + self._run.push(self._run.skew.follow(start_offset_ns - self._run.end_ns, samples))

    def flush(self) -> list[AudioPiece]:
        """Return what the resampler still holds. The next chunk begins anew at its own offset."""
        if self._run is None:
            return []
        self._reached_ns = self._run.end_ns
        pieces = self._run.flush()
        self._run = None
        return pieces

    def _follows(self, start_offset_ns: int) -> bool:
        ahead_ns = start_offset_ns - self.end_ns
        if start_offset_ns < 0:
            raise MediaError(f"start_offset must not be negative, got {seconds(start_offset_ns)}")
        if ahead_ns <= -JITTER_NS:
            raise RunsBackError(
                f"start_offset {seconds(start_offset_ns)} runs back: this stream has reached {seconds(self.end_ns)}"
            )
        if ahead_ns > self._max_gap_ns:
            raise MediaError(
                f"start_offset {seconds(start_offset_ns)} lies {seconds(ahead_ns)} ahead of {seconds(self.end_ns)}, "
                f"at most {seconds(self._max_gap_ns)} are allowed"
            )
        return self._run is not None and ahead_ns < JITTER_NS


class _Skew:
    """Follows a sound card whose clock runs slower or faster than the one that the offsets come from."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._owed = 0
        """Samples by which the audio must become longer (or shorter, below 0)."""
        self._begin()

    def follow(self, ahead_ns: int, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the samples of a chunk, stretched by a few where its offset has long been ahead (or behind)."""
        if self._owed:
            return self._stretch(samples)
        self._sum_ns += ahead_ns
        self._chunks += 1
        self._length += len(samples)
        if self._chunks >= _SKEW_CHUNKS and samples_to_ns(self._length, self._rate) >= _SKEW_AFTER_NS:
            mean_ns = self._sum_ns / self._chunks
            if abs(mean_ns) >= _SKEW_NS:
                self._owed = round(mean_ns * self._rate / NS_PER_S)
            self._begin()
        return samples

    def _begin(self) -> None:
        self._sum_ns = self._chunks = self._length = 0

    def _stretch(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        bound = math.ceil(len(samples) * _SKEW_RATE)
        change = max(-bound, min(bound, self._owed))
        count = len(samples) + change
        if count < 1:
            return samples
        self._owed -= change
        places = np.linspace(0, len(samples) - 1, count)
        return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


class _Run:
    """Audio without a gap: the source's samples are counted, so that positions never drift."""

    def __init__(self, start_ns: int, rate: int) -> None:
        self._start_ns = start_ns
        self._rate = rate
        self._taken = 0
        self._next_sample = ns_to_samples(start_ns)
        self.skew = _Skew(rate)
        self._resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")

    @property
    def end_ns(self) -> int:
        return self._start_ns + samples_to_ns(self._taken, self._rate)

    def push(self, samples: NDArray[np.float32]) -> list[AudioPiece]:
        self._taken += len(samples)
        return self._place(self._resampler.resample_chunk(samples) if self._resampler else samples)

    def flush(self) -> list[AudioPiece]:
        nothing = np.zeros(0, np.float32)
        return self._place(self._resampler.resample_chunk(nothing, last=True)) if self._resampler else []

    def _place(self, samples: NDArray[np.float32]) -> list[AudioPiece]:
        if not len(samples):
            return []
        piece = AudioPiece(self._next_sample, samples)
        self._next_sample += len(samples)
        return [piece]
