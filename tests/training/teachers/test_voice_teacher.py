from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from training.data.speech_clips import AMONG, CLASSES, SpeechClip
from training.teachers.voice_features import ClipStates, clip_states, pooled_states
from training.teachers.voice_teacher import VoiceData, VoiceRecipe, eight_of, seven_of, train_voice, voice_outputs

RECIPE = VoiceRecipe(epochs=30, batch=8, width=32)


def made_up(count=60):
    """Clips of two corpora whose first encoder knows their emotion, in two views."""
    generator = np.random.default_rng(0)
    clips = []
    for i in range(count):
        corpus = ("ravdess", "urdu")[i % 2]
        emotion = AMONG[corpus][(i // 2) % len(AMONG[corpus])]
        clips.append(SpeechClip(Path("x"), corpus, emotion, f"{corpus}-{i % 5}", "female"))
    length = generator.integers(3, 9, count)
    end = np.cumsum(length)
    signal = generator.standard_normal((len(CLASSES), 24)) * 2
    means = np.repeat([signal[CLASSES.index(clip.emotion)] for clip in clips], length, axis=0)

    def states(layers, size):
        values = generator.standard_normal((int(end[-1]), layers, size)) + means[:, None, :size]
        return ClipStates(values.astype(np.float16), end)

    views = ("clean", "noise")
    return VoiceData(clips, [{view: states(3, 24) for view in views}, {view: states(2, 16) for view in views}])


def test_it_learns_what_the_encoders_know():
    data = made_up()
    rows = list(range(len(data.clips)))
    net = train_voice(data, rows[:40], RECIPE, seed=0)
    answers, pooled = voice_outputs([net], data, rows[40:], "noise")
    truth = [CLASSES.index(clip.emotion) for clip in data.clips[40:]]
    assert (answers.argmax(1) == torch.tensor(truth)).float().mean() > 0.8
    assert pooled.shape == (20, RECIPE.width)


def test_padding_changes_nothing():
    data = made_up()
    net = train_voice(data, list(range(8)), VoiceRecipe(epochs=1, width=32), seed=0)
    alone, _ = voice_outputs([net], data, [0], "clean")
    longest = max(range(60), key=lambda i: len(data.states[0]["clean"].of(i)))
    beside, _ = voice_outputs([net], data, [0, longest], "clean")
    torch.testing.assert_close(alone[0], beside[0], atol=1e-4, rtol=1e-4)


def test_calm_joins_neutral_and_boredom_is_none_of_seven():
    probabilities = torch.tensor([[0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.3, 0.4]])
    seven = seven_of(probabilities.clamp_min(1e-9).log()).exp()
    assert seven[0, [0, 6]].tolist() == pytest.approx([1 / 6, 5 / 6], abs=1e-4)
    assert eight_of(probabilities.clamp_min(1e-9).log()).exp()[0, 7].item() == pytest.approx(0.5, abs=1e-4)


def test_states_are_means_over_a_tenth_of_a_second():
    layers = [torch.arange(12.0)[:, None].expand(12, 4), torch.ones(12, 4)]
    pooled = pooled_states(layers)
    assert pooled.shape == (3, 2, 4)
    assert pooled[:, 0, 0].tolist() == [2.0, 7.0, 10.5]


def test_states_are_computed_once(tmp_path):
    class Encoder:
        made = 0

        def __init__(self):
            Encoder.made += 1

        def layers(self, pcm):
            return [torch.full((len(pcm) // 320, 2), float(k)) for k in range(3)]

    clips = []
    for seconds in (1, 2):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.zeros(16_000 * seconds), 16_000)
        clips.append(SpeechClip(path, "urdu", "sad", "a", "male"))
    for _ in range(2):
        states = clip_states(Encoder, "tiny", 1, clips, "clean", tmp_path)
        assert [states.of(i).shape for i in range(2)] == [(10, 2, 2), (20, 2, 2)]
        assert set(states.of(1)[:, 1].ravel().tolist()) == {2.0}
    assert Encoder.made == 1
