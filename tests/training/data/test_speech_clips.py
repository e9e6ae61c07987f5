from collections import Counter

import pytest

from training.data.folder import DataMissingError
from training.data.speech_clips import AMONG, CLASSES, load_speech, speaker_folds


def test_an_emotion_that_a_corpus_has_not_is_named(corpora):
    (corpora / "ravdess/manifest.csv").write_text("path,emotion,speaker,gender\naudio/a.flac,bored,01,male\n")
    with pytest.raises(DataMissingError, match=r"manifest\.csv, row 0: emotion 'bored' is none of ravdess"):
        load_speech(corpora, ["ravdess"])


@pytest.mark.data
def test_the_three_corpora(research_data):
    clips = load_speech(research_data)
    assert Counter(clip.corpus for clip in clips) == {"ravdess": 1200, "emodb": 535, "urdu": 400}
    assert Counter(clip.part for clip in clips if clip.corpus == "ravdess") == {"train": 900, "valid": 120, "test": 180}
    for corpus, names in AMONG.items():
        assert {clip.emotion for clip in clips if clip.corpus == corpus} == set(names) <= set(CLASSES)


@pytest.mark.data
def test_no_speaker_is_in_two_folds_and_each_fold_has_both_genders_of_ravdess(research_data):
    clips = load_speech(research_data)
    folds = speaker_folds(clips, 5)
    assert len({(clip.speaker, fold) for clip, fold in zip(clips, folds, strict=True)}) == len(
        {c.speaker for c in clips}
    )
    genders = {(fold, c.gender) for c, fold in zip(clips, folds, strict=True) if c.corpus == "ravdess"}
    assert len(genders) == 10
    assert folds == speaker_folds(clips, 5) != speaker_folds(clips, 5, seed=1)
