"""Voices as lines and rooms deliver them: telephone, noise, clipping, a far microphone, another speed.

Every function takes float32 PCM [N] at 16 kHz in [-1, 1] and returns the same; what is random comes from the generator.
Used on training clips as augmentation and on test clips for the robustness tables.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from contract.timing import SAMPLE_RATE

Pcm = NDArray[np.float32]

TELEPHONE_RATE: Final = 8000
MU: Final = 255.0
"""Of G.711's mu-law, 8 bits a sample."""


def telephone(pcm: Pcm) -> Pcm:
    """Pass through 8 kHz and mu-law (ITU-T G.711's curve), and back to 16 kHz."""
    narrow = np.clip(_resampled(pcm, SAMPLE_RATE, TELEPHONE_RATE), -1.0, 1.0)
    compressed = np.sign(narrow) * np.log1p(MU * np.abs(narrow)) / np.log1p(MU)
    levels = np.round((compressed + 1) / 2 * MU) / MU * 2 - 1
    expanded = np.sign(levels) * np.expm1(np.abs(levels) * np.log1p(MU)) / MU
    return _same_length(_resampled(expanded.astype(np.float32), TELEPHONE_RATE, SAMPLE_RATE), len(pcm))


def noisy(pcm: Pcm, snr_db: float, generator: np.random.Generator, exponent: float = 1.0) -> Pcm:
    """Add noise whose power falls with frequency^-exponent (0 white, 1 pink), `snr_db` below the clip's power."""
    noise = coloured_noise(len(pcm), exponent, generator)
    level = np.sqrt(np.mean(np.square(pcm)) / max(float(np.mean(np.square(noise))), 1e-12) / 10 ** (snr_db / 10))
    return np.asarray(np.clip(pcm + level * noise, -1.0, 1.0), dtype=np.float32)


def clipped(pcm: Pcm, share: float) -> Pcm:
    """Amplify until `share` of the samples are cut off at full scale."""
    ceiling = max(float(np.quantile(np.abs(pcm), 1 - share)), 1e-6)
    return np.clip(pcm / ceiling, -1.0, 1.0).astype(np.float32)


def far_microphone(pcm: Pcm, generator: np.random.Generator, reverberation_s: float = 0.5) -> Pcm:
    """Convolve with a synthetic room: the direct sound and an exponentially decaying tail of equal energy.

    Args:
        pcm: [N].
        generator: of the tail.
        reverberation_s: time in which the tail falls by 60 dB.
    """
    count = int(reverberation_s * SAMPLE_RATE)
    decay = np.exp(-np.log(1000.0) * np.arange(count) / count)
    tail = generator.standard_normal(count) * decay
    tail[: int(0.003 * SAMPLE_RATE)] = 0.0
    tail /= np.sqrt(np.square(tail).sum())
    room = np.concatenate([[1.0], tail])
    wet = fftconvolve(pcm, room)[: len(pcm)]
    return _as_loud_as(pcm, wet)


def at_speed(pcm: Pcm, speed: float) -> Pcm:
    """Play `speed` times as fast; pitch moves with it, [N] -> [N / speed]."""
    return _resampled(pcm, SAMPLE_RATE * speed, SAMPLE_RATE)


def coloured_noise(count: int, exponent: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return noise of unit variance whose power falls with frequency^-exponent."""
    spectrum = np.fft.rfft(generator.standard_normal(count))
    frequency = np.fft.rfftfreq(count)
    frequency[0] = frequency[1] if count > 1 else 1.0
    noise: NDArray[np.float64] = np.fft.irfft(spectrum * frequency ** (-exponent / 2), count)
    return noise / max(float(noise.std()), 1e-12)


VIEWS: Final[dict[str, Callable[[Pcm, np.random.Generator], Pcm]]] = {
    "clean": lambda pcm, generator: pcm,
    "slow": lambda pcm, generator: at_speed(pcm, generator.uniform(0.85, 0.95)),
    "fast": lambda pcm, generator: at_speed(pcm, generator.uniform(1.05, 1.15)),
    "telephone": lambda pcm, generator: telephone(pcm),
    "noise": lambda pcm, generator: noisy(pcm, generator.uniform(5.0, 20.0), generator, generator.uniform(0.0, 1.5)),
    "far": lambda pcm, generator: far_microphone(pcm, generator, generator.uniform(0.3, 0.8)),
}
"""What teachers and students hear of each training clip."""


def view(name: str, pcm: Pcm, clip: int, seed: int = 0) -> Pcm:
    """Return view `name` of clip number `clip`: the same for the same name, clip and seed.

    Raises:
        ValueError: there is no view of that name.
    """
    if name not in VIEWS:
        raise ValueError(f"no view {name!r}: there are {', '.join(VIEWS)}")
    return VIEWS[name](pcm, np.random.default_rng((seed, list(VIEWS).index(name), clip)))


def _resampled(pcm: Pcm, rate: float, to: float) -> Pcm:
    return np.asarray(soxr.resample(pcm, rate, to), dtype=np.float32)


def _same_length(pcm: Pcm, count: int) -> Pcm:
    return pcm[:count] if len(pcm) >= count else np.pad(pcm, (0, count - len(pcm)))


def _as_loud_as(pcm: Pcm, other: NDArray[np.float64]) -> Pcm:
    power = float(np.mean(np.square(other)))
    scale = np.sqrt(float(np.mean(np.square(pcm))) / power) if power > 0 else 0.0
    return np.clip(other * scale, -1.0, 1.0).astype(np.float32)
