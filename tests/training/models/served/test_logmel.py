import numpy as np
import pytest
import torch
import torchaudio

from training.models.served.logmel import FLOOR, FRAME_SAMPLES, LOWEST_HZ, MELS, STEP_SAMPLES, LogMel


def test_equals_torchaudio():
    pcm = torch.randn(3, 24_000, generator=torch.Generator().manual_seed(1)) * 0.1
    reference = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=FRAME_SAMPLES, hop_length=STEP_SAMPLES, f_min=LOWEST_HZ, f_max=8_000, n_mels=MELS, center=False
    )
    power = reference(torch.nn.functional.pad(pcm, (FRAME_SAMPLES - STEP_SAMPLES, 0)))
    torch.testing.assert_close(LogMel()(pcm), torch.log(power + FLOOR), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("hertz", [200, 1000, 3500])
def test_a_tone_lands_in_its_band(hertz):
    pcm = torch.sin(2 * torch.pi * hertz * torch.arange(16_000) / 16_000)[None]
    loudest = LogMel()(pcm)[0, :, 50].argmax().item()
    mel = 2595 * np.log10(1 + np.array([LOWEST_HZ, hertz, 8_000]) / 700)  # O'Shaughnessy's scale
    expected = (mel[1] - mel[0]) / (mel[2] - mel[0]) * (MELS + 1) - 1
    assert abs(loudest - expected) <= 1


def test_a_frame_ends_where_it_says():
    pcm = torch.zeros(1, 1_600)
    pcm[0, 5 * STEP_SAMPLES] = 1.0  # the first sample of step 5
    mel = LogMel()(pcm)
    silent = torch.log(torch.tensor(FLOOR))
    assert torch.equal(mel[0, :, :5], silent.expand(MELS, 5))
    assert (mel[0, :, 5:7] > silent).any()


def test_silence_is_finite():
    assert LogMel()(torch.zeros(1, 1_600)).isfinite().all()
