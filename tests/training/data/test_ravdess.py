import numpy as np
import pytest
import torch

from contract.labels import EMOTIONS
from contract.timing import CONTEXT_SAMPLES, HOP_SAMPLES
from training.data import ravdess
from training.data.folder import DataMissingError, data_root
from training.data.hops import chunks_of
from training.data.ravdess import SAMPLES, SLOTS, SPEEDS, Ravdess, action_units, at_speeds, cut_to_voice
from training.teachers import probed
from training.teachers.fetch import TeacherError


def test_calm_joins_neutral(corpora):
    (clip,) = ravdess.load(corpora, "train")
    assert (clip.emotion, clip.actor) == ("neutral", "01")
    assert ravdess.read_pcm(clip.path).dtype == np.float32


def test_another_rate_is_refused(corpora):
    (clip,) = ravdess.load(corpora, "test")
    with pytest.raises(DataMissingError, match="expected 16000 Hz mono, got 44100 Hz"):
        ravdess.read_pcm(clip.path)


def test_hops_are_cut_as_a_session_cuts_them():
    pcm = np.arange(1, 20_001, dtype=np.float32)
    chunks = chunks_of(pcm)
    assert chunks.shape == (3, CONTEXT_SAMPLES + HOP_SAMPLES)
    assert not chunks[0, :CONTEXT_SAMPLES].any(), "zeros before the start"
    np.testing.assert_array_equal(chunks[0, CONTEXT_SAMPLES:], pcm[:HOP_SAMPLES])
    np.testing.assert_array_equal(chunks[2, :CONTEXT_SAMPLES], pcm[:CONTEXT_SAMPLES])
    assert not chunks[2, CONTEXT_SAMPLES + 4_000 :].any(), "the last hop is padded"


def test_the_data_folder_is_given_or_set(tmp_path, monkeypatch):
    monkeypatch.delenv("MOODSTREAM_DATA", raising=False)
    with pytest.raises(DataMissingError, match="give --data DIR or set MOODSTREAM_DATA"):
        data_root()
    monkeypatch.setenv("MOODSTREAM_DATA", str(tmp_path))
    assert data_root() == tmp_path
    with pytest.raises(DataMissingError, match="does not exist"):
        data_root(tmp_path / "nowhere")


@pytest.mark.data
def test_the_real_splits_are_disjoint_in_actors(research_data):
    clips = {split: ravdess.load(research_data, split) for split in ("train", "valid", "test")}
    assert {split: len(part) for split, part in clips.items()} == {"train": 900, "valid": 120, "test": 180}
    actors = [{clip.actor for clip in part} for part in clips.values()]
    assert not actors[0] & actors[1] | actors[0] & actors[2] | actors[1] & actors[2]
    assert {clip.emotion for clip in clips["train"]} == set(EMOTIONS)


@pytest.fixture(scope="module")
def task(tiny, cache):
    return Ravdess(tiny, cache)


def test_training_clips_come_at_three_speeds(task):
    train, valid = task.samples("train"), task.samples("valid")
    assert len(train) == 5 * 8 * len(SPEEDS)
    assert len(valid) == 8
    assert train.ids[:3] == ["03-01-01-01-01-01-01", "03-01-01-01-01-01-01@0.9", "03-01-01-01-01-01-01@1.1"]
    lengths = train.inputs["logmel_mask"].sum(1)[:3].tolist()
    assert lengths[2] < lengths[0] < lengths[1]
    neutral = (train.target == EMOTIONS.index("neutral")).sum()
    assert neutral == 5 * 2 * len(SPEEDS), "calm is neutral"


def test_speakers_of_the_splits_are_disjoint(task):
    speakers = [set(task.samples(split).groups["speaker"].tolist()) for split in ("train", "valid", "test")]
    assert not speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2]
    assert set(task.samples("train").groups["gender"].tolist()) == {0, 1}


def test_no_speaker_is_in_two_folds(task):
    lesson, speakers = task.lesson, task.samples("train").groups["speaker"]
    for speaker in speakers.unique():
        assert len(lesson.fold[speakers == speaker].unique()) == 1


def test_voice_is_cut_out():
    pcm = np.concatenate([np.zeros(16_000), 0.1 * np.ones(8_000), np.zeros(16_000)]).astype(np.float32)
    part = cut_to_voice(pcm)
    assert len(part) == 8_000 + 2 * 1_600
    np.testing.assert_array_equal(part[1_600:-1_600], pcm[16_000:24_000])
    assert len(cut_to_voice(np.ones(100_000, dtype=np.float32))) == SAMPLES
    assert len(cut_to_voice(np.zeros(20_000, dtype=np.float32))) >= 1_600, "silence is a slot"


def test_speed_changes_length_and_pitch():
    t = np.arange(16_000, dtype=np.float32) / 16_000
    slow, fast = at_speeds(np.sin(2 * np.pi * 400 * t).astype(np.float32), (0.8, 1.25))
    for pcm, pitch in ((slow, 320), (fast, 500)):
        assert len(pcm) == pytest.approx(16_000 * 400 / pitch, rel=0.01)
        spectrum = np.abs(np.fft.rfft(pcm))
        assert spectrum.argmax() * 16_000 / len(pcm) == pytest.approx(pitch, abs=3)


def test_action_units_join_by_name_whatever_the_channel(tiny):
    units = action_units(tiny / "ravdess/action_units.npz")
    assert units["01-01-01-01-01-02"].shape == (35,)


def test_a_privileged_teacher_is_out_of_fold(task):
    bank = task.teacher("action_units")
    train, test = bank.outputs("train"), bank.outputs("test")
    assert train.logits.shape == (120, 7)
    assert train.score.abs().max() <= 1
    assert train.features["h1"].shape == (120, 35)
    assert (test.logits.argmax(1) == task.samples("test").target).float().mean() > 0.8
    assert (train.logits.argmax(1) == task.samples("train").target).float().mean() > 0.8


def test_what_a_training_sample_is_taught_does_not_depend_on_its_own_label(task, tmp_path):
    features = task._units()
    speaker = task.samples("train").groups["speaker"] == 1
    wrong = task.lesson.target.clone()
    wrong[speaker] = (wrong[speaker] + 1) % 7
    recipe = probed.ProbeRecipe(hidden=16, seeds=1, steps=30)
    honest, deceived = (
        probed.taught(
            features,
            probed.Lesson("", target, task.lesson.fold, task.lesson.values, tmp_path),
            recipe,
        )
        for target in (task.lesson.target, wrong)
    )
    assert torch.equal(honest["train"].logits[speaker], deceived["train"].logits[speaker])
    assert not torch.equal(honest["train"].logits[~speaker], deceived["train"].logits[~speaker])


def test_a_second_run_computes_nothing(task, tiny, cache, monkeypatch):
    first = task.teacher("action_units").outputs("train")

    def never(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(probed, "out_of_fold", never)
    monkeypatch.setattr(Ravdess, "_units", never)
    monkeypatch.setattr(Ravdess, "_prepare", never)
    again = Ravdess(tiny, cache).teacher("action_units").outputs("train")
    assert torch.equal(first.logits, again.logits)
    assert torch.equal(first.features["penultimate"], again.features["penultimate"])


def test_a_teacher_that_was_not_fetched(task):
    with pytest.raises(TeacherError, match="run `python -m training fetch-teachers`"):
        task.teacher("whisper").outputs("train")


def test_missing_files_are_named(tmp_path, tiny):
    with pytest.raises(DataMissingError, match=r"corpus ravdess: .*manifest\.csv does not exist"):
        Ravdess(tmp_path).samples("train")
    units = np.load(tiny / "ravdess/action_units.npz")
    task = Ravdess(tiny)
    (tmp_path / "ravdess").mkdir()
    for name in ("manifest.csv", "audio"):
        (tmp_path / "ravdess" / name).symlink_to(tiny / "ravdess" / name)
    np.savez(tmp_path / "ravdess/action_units.npz", clip=units["clip"][1:], au=units["au"][1:])
    with pytest.raises(DataMissingError, match=r"action_units\.npz has no clip 03-01-01-01-01-01-01"):
        Ravdess(tmp_path, task.cache)._units()


@pytest.mark.data
def test_the_real_corpus(research_data, tmp_path):
    task = Ravdess(research_data, tmp_path)
    assert [len(task.clips[split]) for split in ("train", "valid", "test")] == [900, 120, 180]
    assert SLOTS * 1_600 == SAMPLES
    features = task._units()
    assert features["train"].features["vector"].shape == (2_700, 35)
