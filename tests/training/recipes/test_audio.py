import numpy as np
import pytest
import torch

from contract.labels import EMOTIONS
from contract.timing import CHUNK_SAMPLES, CONTEXT_SAMPLES, HOP_SAMPLES
from training.models.served.audio import AudioEncoder
from training.recipes import audio


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def voice(seconds: float = 3.0) -> np.ndarray:
    """A second of near silence, then a tone."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    return (np.where(time < 1, 1e-4, 0.3) * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


def test_a_random_chunk_has_voice_near_its_newest_hop(rng):
    for _ in range(50):
        chunk = audio.random_chunk(voice(), rng)
        assert chunk.shape == (CHUNK_SAMPLES,)
        assert np.abs(chunk[CONTEXT_SAMPLES // 2 :]).max() > 0.1


def test_hops_before_the_voice_weigh_nothing():
    chunk = voice(1.5)[None]
    np.testing.assert_array_equal(audio.hop_weights(chunk), [[0, 0, 1]])
    np.testing.assert_array_equal(audio.hop_weights(chunk[:, ::-1])[0] > 0, [True, True, True])


def test_a_batch_is_in_range_and_some_of_it_is_quiet_and_neutral(rng):
    labels = np.zeros(400, dtype=np.int64)
    batch = audio.make_batch([[voice()]] * 400, labels, np.arange(400), rng)
    quiet = batch.clips == -1
    assert 0 < int(quiet.sum()) < 60
    assert (batch.labels[quiet] == EMOTIONS.index("neutral")).all()
    assert (batch.labels[~quiet] == 0).all()
    assert batch.pcm.abs().max() <= 1
    assert batch.pcm[quiet].abs().max() < 0.1
    assert not labels.any(), "the caller's labels stay"


def test_room_noise_has_the_level_that_is_said(rng):
    noise = audio.room_noise(20, rng)
    np.testing.assert_allclose(noise.std(axis=1), 1, rtol=1e-3)
    power = np.square(np.abs(np.fft.rfft(noise)))
    tilt = np.log(power[:, 100:400].mean(axis=1) / power[:, 6000:].mean(axis=1))
    assert tilt.min() < 2, "some of it is white"
    assert tilt.max() > 4, "some of it is brown"
    quiet = audio.quiet_chunks(200, rng)
    assert np.abs(quiet).max() < 0.15
    assert (~quiet.any(axis=1)).any()


def test_speed_changes_the_length(rng):
    lengths = [len(variant) for variant in audio.speed_variants(voice())]
    assert lengths == sorted(lengths, reverse=True)
    assert len(voice()) in lengths


def test_masks_leave_the_rest(rng):
    mel = torch.randn(8, 48, 150)
    masked = audio.mask_stripes(mel, rng)
    changed = masked != mel
    assert 0 < changed.float().mean() < 0.5


def test_the_newest_of_the_hops_is_the_served_one():
    model = AudioEncoder().eval()
    pcm = torch.randn(2, CHUNK_SAMPLES) * 0.1
    with torch.inference_mode():
        logits, sentiment = model.hop_scores(model.logmel(pcm))
        encoded = model.encode(pcm)
    torch.testing.assert_close(logits[:, -1], encoded.logits)
    torch.testing.assert_close(sentiment[:, -1:], encoded.sentiment)


@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-3, 1e-2])
def test_without_a_voice_the_served_student_is_about_neutral(level, run):
    noise = np.random.default_rng(0).standard_normal((4, CHUNK_SAMPLES)).astype(np.float32) * level
    outputs = run("audio_encoder", {"PCM": noise})
    assert (outputs["EMOTION"].argmax(axis=1) == EMOTIONS.index("neutral")).all()
    assert np.abs(outputs["SENTIMENT"]).max() < 0.35


def test_a_recording_is_scored_by_all_its_hops(corpora):
    from training.data import ravdess

    clips = audio.ClipSet(ravdess.load(corpora, "train"))
    assert len(clips.chunks) == -(-20_000 // HOP_SAMPLES)
    assert clips.clip_log_probabilities(AudioEncoder()).shape == (1, 7)
