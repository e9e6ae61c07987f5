"""Seeded noise on batches: all on tensors, drawn from one torch.Generator on the CPU, one draw for each sample.

Draws are made on the CPU and moved, so that a batch on a GPU gets the same noise. Speed is no part of this: it changes
lengths, so the audio task holds every clip at several speeds from the start.
"""

import math
from typing import Final

import torch
from torch import Generator, Tensor

from contract.text import UNK_ID

GAIN_DB: Final = 12.0
"""Gains are uniform in +- this."""
SNR_DB: Final = (5.0, 40.0)
NOISE_SHARE: Final = 0.5
"""Of clips that get noise."""
_DB: Final = math.log(10) / 10
"""A decibel in the units of log-mel, the natural logarithm of a power."""
_LOG_CHI_DEVIATION: Final = 0.8
"""Of ln(chi-squared) with four degrees of freedom: the square root of trigamma(2)."""


def noisy(logmel: Tensor, mask: Tensor, generator: Generator) -> Tensor:
    """Add stationary noise with a random spectral tilt to the power of about half the clips.

    Powers add, apart from the cross term whose mean is zero. The noise's own log power fluctuates like that of a
    chi-squared variable with four degrees of freedom, here by a normal one of the same deviation.

    Args:
        logmel: [B, T, M], natural logarithm of power.
        mask: [B, T].
        generator: of everything random.
    """
    chosen = torch.nonzero(_uniform((len(logmel),), 0.0, 1.0, logmel, generator) < NOISE_SHARE)[:, 0]
    clean, there = logmel[chosen], mask[chosen].to(logmel.dtype)
    level = (clean.exp().mean(-1) * there).sum(1) / there.sum(1).clamp_min(1.0)
    below_db = _uniform((len(chosen),), *SNR_DB, logmel, generator)
    slope = torch.linspace(-0.5, 0.5, logmel.shape[2], device=logmel.device)
    tilt = _uniform((len(chosen), 1), -3.0, 1.0, logmel, generator) * slope
    noise = (level.log() - below_db * _DB).unsqueeze(1) + tilt
    fluctuation = torch.randn(clean.shape, generator=generator).to(logmel.device) * _LOG_CHI_DEVIATION
    return logmel.index_copy(0, chosen, torch.logaddexp(clean, noise.unsqueeze(1) + fluctuation))


def louder(logmel: Tensor, generator: Generator) -> Tensor:
    """Multiply the samples of each clip by a random gain, [B, T, M]."""
    return logmel + _uniform((len(logmel), 1, 1), -GAIN_DB, GAIN_DB, logmel, generator) * _DB


def spec_augment(logmel: Tensor, generator: Generator, band: int = 10, stretch: int = 30) -> Tensor:
    """SpecAugment (Park et al. 2019): replace up to two bands and two stretches by the clip's mean, [B, T, M]."""
    batch, frames, mels = logmel.shape
    hidden = torch.zeros(batch, frames, mels, dtype=torch.bool, device=logmel.device)
    for _ in range(2):
        bands, stretches = _stripe(mels, band, logmel, generator), _stripe(frames, stretch, logmel, generator)
        hidden |= bands[:, None, :] | stretches[:, :, None]
    return torch.where(hidden, logmel.mean((1, 2), keepdim=True), logmel)


def flipped(face: Tensor, generator: Generator) -> Tensor:
    """Mirror half of the faces, [B, H, W]."""
    return torch.where(_uniform((len(face), 1, 1), 0.0, 1.0, face, generator) < 0.5, face.flip(2), face)


def shifted(face: Tensor, generator: Generator, most: int = 4) -> Tensor:
    """Move each face [B, H, W] by up to `most` pixels each way; its border is repeated."""
    batch, height, width = face.shape
    down, right = torch.randint(-most, most + 1, (2, batch, 1), generator=generator).to(face.device)
    rows = (torch.arange(height, device=face.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=face.device) + right).clamp(0, width - 1)
    return face[torch.arange(batch, device=face.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def relit(face: Tensor, generator: Generator) -> Tensor:
    """Change contrast by up to a third and brightness by up to 40 grey levels, [B, H, W]; stays in 0..255."""
    contrast = _uniform((len(face), 1, 1), 0.67, 1.33, face, generator)
    brightness = _uniform((len(face), 1, 1), -40.0, 40.0, face, generator)
    centre = face.mean((1, 2), keepdim=True)
    return ((face - centre) * contrast + centre + brightness).clamp(0.0, 255.0)


def erased(face: Tensor, generator: Generator, share: float = 0.5) -> Tensor:
    """Random erasing (Zhong et al. 2020): fill a rectangle of up to a third of the sides with the face's mean grey."""
    batch, height, width = face.shape
    rows, columns = (_stripe(size, size // 3, face, generator) for size in (height, width))
    chosen = _uniform((batch, 1, 1), 0.0, 1.0, face, generator) < share
    return torch.where(rows[:, :, None] & columns[:, None] & chosen, face.mean((1, 2), keepdim=True), face)


def dropped_words(ids: Tensor, mask: Tensor, generator: Generator, share: float = 0.1) -> Tensor:
    """Replace a share of the pieces by [UNK], but never the first and last of a text, [B, T]."""
    place = torch.arange(ids.shape[1], device=ids.device)
    inner = (place > 0) & (place < mask.sum(1, keepdim=True) - 1)
    chosen = torch.rand(ids.shape, generator=generator).to(ids.device) < share
    return torch.where(chosen & inner, UNK_ID, ids)


def _uniform(shape: tuple[int, ...], low: float, high: float, like: Tensor, generator: Generator) -> Tensor:
    values = torch.rand(shape, generator=generator) * (high - low) + low
    return values.to(like.device)


def _stripe(size: int, longest: int, like: Tensor, generator: Generator) -> Tensor:
    """Return bool [B, size]: a random interval of 0 to `longest` in each row."""
    start, extent = torch.rand(2, len(like), 1, generator=generator).to(like.device)
    axis, start = torch.arange(size, device=like.device), (start * size).floor()
    inside: Tensor = (axis >= start) & (axis < start + (extent * (min(longest, size) + 1)).floor())
    return inside
