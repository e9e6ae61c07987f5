import numpy as np
import pytest

from contract.labels import EMOTIONS
from contract.timing import CONTEXT_SAMPLES, HOP_SAMPLES
from training.data import ravdess
from training.data.folder import DataMissingError, data_root
from training.data.hops import chunks_of


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
