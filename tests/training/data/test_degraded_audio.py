import numpy as np
import pytest

from contract.timing import SAMPLE_RATE
from training.data import degraded_audio
from training.data.degraded_audio import (
    VIEWS,
    at_speed,
    clipped,
    coloured_noise,
    far_microphone,
    noisy,
    telephone,
    view,
)

SECOND = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def tone(frequency, level=0.3):
    return (level * np.sin(2 * np.pi * frequency * SECOND)).astype(np.float32)


def power(pcm):
    return float(np.mean(np.square(pcm, dtype=np.float64)))


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_a_telephone_passes_low_tones_and_stops_high_ones():
    assert power(telephone(tone(1000))) == pytest.approx(power(tone(1000)), rel=0.05)
    assert power(telephone(tone(6000))) < 0.01 * power(tone(6000))
    error = power(telephone(tone(1000)) - tone(1000)) / power(tone(1000))
    assert 1e-6 < error < 1e-2  # mu-law of 8 bits: about 38 dB


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_lies_as_far_below_as_asked(generator, snr_db):
    clean = tone(440, 0.1)
    found = 10 * np.log10(power(clean) / power(noisy(clean, snr_db, generator) - clean))
    assert found == pytest.approx(snr_db, abs=0.3)


def test_pink_noise_falls_three_decibels_an_octave(generator):
    spectrum = np.abs(np.fft.rfft(coloured_noise(1 << 16, 1.0, generator))) ** 2
    octaves = [spectrum[1 << k : 2 << k].mean() for k in range(6, 14)]
    slope = np.polyfit(range(len(octaves)), 10 * np.log10(octaves), 1)[0]
    assert slope == pytest.approx(-3.0, abs=0.3)


def test_a_share_of_the_samples_is_clipped():
    loud = clipped(tone(440), 0.2)
    assert (np.abs(loud) >= 1.0).mean() == pytest.approx(0.2, abs=0.02)


def test_a_far_microphone_smears_a_click_and_keeps_the_loudness(generator):
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[1000] = 0.5
    wet = far_microphone(click, generator)
    assert power(wet) == pytest.approx(power(click), rel=0.01)
    assert np.abs(wet[:1000]).max() < 1e-6
    assert power(wet[1100:3000]) > power(wet[5000:6900])


def test_speed_changes_length_and_pitch():
    fast = at_speed(tone(440), 1.1)
    assert len(fast) == pytest.approx(SAMPLE_RATE / 1.1, abs=2)
    peak = np.abs(np.fft.rfft(fast)).argmax() * SAMPLE_RATE / len(fast)
    assert peak == pytest.approx(484, abs=2)


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_seeded_finite_and_in_range(name):
    one = view(name, tone(440), clip=3)
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert np.abs(one).max() <= 1.0
    assert np.array_equal(one, view(name, tone(440), clip=3))


def test_silence_stays_silent_and_an_unknown_view_is_named():
    silence = np.zeros(SAMPLE_RATE, np.float32)
    for name in VIEWS:
        assert np.abs(view(name, silence, clip=0)).max() < 1e-3, name
    with pytest.raises(ValueError, match="no view 'loud': there are clean, slow"):
        degraded_audio.view("loud", silence, clip=0)
