"""Log-mel spectrum of raw PCM as plain matrix products, so that it lives inside the ONNX graph.

The values are those of `torchaudio.transforms.MelSpectrogram(center=False)`. A 400-point DFT of real samples needs a
quarter of the naive products when its symmetries are used twice: x[n] +- x[400-n] separates cosines from sines, and
folding once more about n = 100 separates even from odd frequencies. ONNX's own STFT operator takes four times as long.
"""

import math
from typing import Final

import torch
import torchaudio
from torch import Tensor, nn

from contract.timing import SAMPLE_RATE

FRAME_SAMPLES: Final = 400
STEP_SAMPLES: Final = 160
MELS: Final = 48
LOWEST_HZ: Final = 60.0
FLOOR: Final = 1e-6
"""Added to the power before the logarithm: about the noise of 16-bit samples."""

_BLOCK: Final = 80
"""Greatest common divisor of frame and step: framing is then a strided slice of blocks."""
_HALF: Final = FRAME_SAMPLES // 2
_QUARTER: Final = FRAME_SAMPLES // 4


class LogMel(nn.Module):
    """PCM [B, N] -> [B, MELS, N / 160]; frame t ends with sample 160 (t + 1), so it is causal.

    Before the first sample there are zeros. N must be a multiple of 160.
    """

    window: Tensor
    filters: Tensor
    cos_even: Tensor
    cos_odd: Tensor
    sin_even: Tensor
    sin_odd: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = torchaudio.functional.melscale_fbanks(
            _HALF + 1, LOWEST_HZ, SAMPLE_RATE / 2, MELS, SAMPLE_RATE, norm=None, mel_scale="htk"
        )
        even, odd = torch.arange(0, _HALF + 1, 2), torch.arange(1, _HALF, 2)
        buffers = {
            "window": torch.hann_window(FRAME_SAMPLES),
            # The spectrum comes out as even frequencies, then odd ones: the filters' rows follow that order.
            "filters": torch.cat([filters[even], filters[odd]]),
            "cos_even": _angles(torch.arange(_QUARTER + 1), even).cos(),
            "cos_odd": _angles(torch.arange(_QUARTER), odd).cos(),
            "sin_even": _angles(torch.arange(1, _QUARTER), even).sin(),
            "sin_odd": _angles(torch.arange(1, _QUARTER + 1), odd).sin(),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.float(), persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        """Return log(mel power + FLOOR), [B, MELS, N / 160]."""
        frames = _frames(pcm) * self.window
        power = torch.cat(self._folded_power(frames), dim=-1)
        return torch.log(power @ self.filters + FLOOR).transpose(1, 2)

    def _folded_power(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the power at even [.., 101] and odd [.., 100] frequencies of frames x [.., 400]."""
        head, tail = x[..., 1:_HALF], x[..., _HALF + 1 :].flip(-1)
        cosine = torch.cat([x[..., :1], head + tail, x[..., _HALF : _HALF + 1]], dim=-1)  # n = 0..200
        sine = head - tail  # n = 1..199
        low, high = cosine[..., :_QUARTER], cosine[..., _QUARTER + 1 :].flip(-1)
        middle = cosine[..., _QUARTER : _QUARTER + 1]
        real_even = torch.cat([low + high, middle], dim=-1) @ self.cos_even
        real_odd = (low - high) @ self.cos_odd
        low, high = sine[..., : _QUARTER - 1], sine[..., _QUARTER:].flip(-1)
        middle = sine[..., _QUARTER - 1 : _QUARTER]
        imag_even = (low - high) @ self.sin_even
        imag_odd = torch.cat([low + high, middle], dim=-1) @ self.sin_odd
        return real_even**2 + imag_even**2, real_odd**2 + imag_odd**2


def _angles(n: Tensor, k: Tensor) -> Tensor:
    return (n[:, None] * k[None, :]).double() * (2 * math.pi / FRAME_SAMPLES)


def _frames(pcm: Tensor) -> Tensor:
    """Cut [B, N] into [B, N / 160, 400] after 240 zeros, by strided slices of 80-sample blocks."""
    padded = nn.functional.pad(pcm, (FRAME_SAMPLES - STEP_SAMPLES, 0))
    blocks = torch.unflatten(padded, -1, (-1, _BLOCK))
    count, stride = pcm.shape[-1] // STEP_SAMPLES, STEP_SAMPLES // _BLOCK
    parts = [blocks[:, j : j + (count - 1) * stride + 1 : stride] for j in range(FRAME_SAMPLES // _BLOCK)]
    return torch.cat(parts, dim=-1)
