"""Seeded noise on batches: all on tensors, all drawn from one torch.Generator, one draw for each sample.

Speed is no part of this: it changes lengths, so the audio task holds every clip at several speeds from the start.
"""

import torch
from torch import Generator, Tensor

from contract.text import UNK_ID

GAIN_DB = 12.0
"""Gains are uniform in +- this."""
SNR_DB = (5.0, 40.0)
NOISE_SHARE = 0.5
"""Of clips that get noise."""
_DB_TO_NATURAL = 0.2302585
"""ln(10) / 10: log-mel is the natural logarithm of a power."""


def uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """Return [count] values."""
    return torch.rand(count, generator=generator) * (high - low) + low


def noisy(logmel: Tensor, mask: Tensor, generator: Generator) -> Tensor:
    """Add stationary noise with a random spectral tilt to the power of half the clips.

    Powers add, apart from the cross term whose mean is zero; the noise's own power fluctuates as that of a chi-squared
    variable with about four degrees of freedom, what a mel band of white noise shows.

    Args:
        logmel: [B, T, M], natural logarithm of power.
        mask: [B, T].
        generator: of everything random.
    """
    batch, frames, mels = logmel.shape
    weights = mask.float()
    level = (logmel.exp().mean(-1) * weights).sum(1) / weights.sum(1).clamp_min(1.0)
    snr = uniform(batch, *SNR_DB, generator)
    snr[torch.rand(batch, generator=generator) >= NOISE_SHARE] = 200.0
    tilt = uniform(batch, -3.0, 1.0, generator).unsqueeze(1) * torch.linspace(-0.5, 0.5, mels)
    spectrum = (level.log() - snr * _DB_TO_NATURAL).unsqueeze(1) + tilt
    fluctuation = torch.rand(2, batch, frames, mels, generator=generator).clamp_min(1e-6).log().neg().mean(0)
    return torch.logaddexp(logmel, spectrum.unsqueeze(1) + fluctuation.log())


def louder(logmel: Tensor, generator: Generator) -> Tensor:
    """Multiply the samples of each clip [T, M] by a random gain."""
    return logmel + uniform(len(logmel), -GAIN_DB, GAIN_DB, generator).mul(_DB_TO_NATURAL)[:, None, None]


def spec_augment(logmel: Tensor, generator: Generator, band: int = 10, stretch: int = 30) -> Tensor:
    """SpecAugment (Park et al. 2019): replace up to two bands and two stretches by the clip's mean, [B, T, M]."""
    batch, frames, mels = logmel.shape
    hidden = torch.zeros(batch, frames, mels, dtype=torch.bool)
    for _ in range(2):
        hidden |= (
            stripe(batch, mels, band, generator)[:, None, :] | stripe(batch, frames, stretch, generator)[:, :, None]
        )
    return torch.where(hidden, logmel.mean((1, 2), keepdim=True), logmel)


def stripe(batch: int, size: int, longest: int, generator: Generator) -> Tensor:
    """Return bool [batch, size]: a random interval of 0 to `longest` in each row."""
    start = (torch.rand(batch, 1, generator=generator) * size).long()
    extent = (torch.rand(batch, 1, generator=generator) * (min(longest, size) + 1)).long()
    axis = torch.arange(size)
    return (axis >= start) & (axis < start + extent)


def flipped(face: Tensor, generator: Generator) -> Tensor:
    """Mirror half of the faces [B, H, W]."""
    mirror = torch.rand(len(face), generator=generator) < 0.5
    return torch.where(mirror[:, None, None], face.flip(2), face)


def shifted(face: Tensor, generator: Generator, most: int = 4) -> Tensor:
    """Move each face [B, H, W] by up to `most` pixels each way; its border is repeated."""
    batch, height, width = face.shape
    down, right = (torch.randint(-most, most + 1, (batch, 1), generator=generator) for _ in range(2))
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    return face[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def relit(face: Tensor, generator: Generator) -> Tensor:
    """Change contrast by up to a third and brightness by up to 40 grey levels, [B, H, W]; stays in 0..255."""
    contrast = uniform(len(face), 0.67, 1.33, generator)[:, None, None]
    brightness = uniform(len(face), -40.0, 40.0, generator)[:, None, None]
    centre = face.mean((1, 2), keepdim=True)
    return ((face - centre) * contrast + centre + brightness).clamp(0.0, 255.0)


def erased(face: Tensor, generator: Generator, share: float = 0.5) -> Tensor:
    """Random erasing (Zhong et al. 2020): fill a rectangle of up to a third of the sides with the face's mean grey."""
    batch, height, width = face.shape
    hidden = (
        stripe(batch, height, height // 3, generator)[:, :, None] & stripe(batch, width, width // 3, generator)[:, None]
    )
    hidden &= (torch.rand(batch, generator=generator) < share)[:, None, None]
    return torch.where(hidden, face.mean((1, 2), keepdim=True), face)


def dropped_words(ids: Tensor, mask: Tensor, generator: Generator, share: float = 0.1) -> Tensor:
    """Replace a share of the pieces by [UNK], but never the first and last, [B, T]."""
    hidden = torch.rand(ids.shape, generator=generator) < share
    inner = mask.bool().clone()
    inner[:, 0] = False
    last = mask.sum(1).long().clamp_min(1) - 1
    inner[torch.arange(len(ids)), last] = False
    return torch.where(hidden & inner, UNK_ID, ids)
