import csv
from pathlib import Path

import pytest

from contract.labels import EMOTIONS, POLARITIES
from training.data import labelled_texts
from training.data.labelled_texts import (
    SST5_SLOPE,
    degree_slope,
    films,
    held_out_texts,
    one_hot,
    polarity_of_rating,
    rating_split,
    sst2,
    training_texts,
    tweets,
)
from training.data.plain_texts import frames, plain_texts
from training.data.sentences import comparison_key

SHEET = Path(__file__).resolve().parents[3] / "bench/sheets/plain_sentences.csv"


def test_a_target_says_among_which_classes_it_was_chosen():
    target = one_hot("positive", POLARITIES, ("negative", "positive"))
    assert target.probabilities == (0, 0, 1)
    assert target.among == (True, False, True)


@pytest.mark.parametrize(
    ("rating", "expected"),
    [(0.1, (0, 1, 0)), (-0.7, (0.5, 0.5, 0)), (0.7, (0, 0.5, 0.5)), (-3.0, (1, 0, 0)), (4.0, (0, 0, 1))],
)
def test_a_rating_near_zero_is_neutral_and_one_in_between_is_both(rating, expected):
    assert polarity_of_rating(rating).probabilities == pytest.approx(expected)


def test_a_snippet_s_split_does_not_depend_on_its_spelling():
    assert rating_split("It's GOOD!") == rating_split("it 's good")


def test_the_sheet_that_measures_is_not_trained_on():
    with SHEET.open(newline="") as file:
        sheet = {comparison_key(row["text"]) for row in csv.DictReader(file)}
    assert not sheet & {text.key for text in plain_texts(fills=60)}


def test_plain_frames_are_labelled_consistently_and_fill_every_slot():
    for frame in frames():
        assert frame.emotion in EMOTIONS
        assert (frame.score > 0) - (frame.score < 0) == POLARITIES.index(frame.polarity) - 1, frame.text
    texts = plain_texts()
    assert len({text.key for text in texts}) > 300
    assert not [text.text for text in texts if "{" in text.text]
    assert [t.text for t in texts] == [t.text for t in plain_texts()] != [t.text for t in plain_texts(seed=1)]


@pytest.mark.data
def test_no_held_out_film_sentence_is_trained_on(research_data):
    held = {t.key for split in ("valid", "test") for t in sst2(research_data, split) if len(t.text.split()) >= 6}
    trained = {text.key for text in training_texts(research_data)}
    assert len(held) > 2500
    assert not held & trained
    longest = sorted(held, key=len)[-100:]  # nor a part of one, nor one with something added
    assert not [key for key in trained if len(key) > 40 and any(key in other or other in key for other in longest)]


@pytest.mark.data
def test_long_held_out_sentences_of_every_corpus_are_gone_and_films_stand_once(research_data):
    trained = training_texts(research_data, editorials=100)
    keys = {text.key for text in trained}
    assert not {t.key for t in held_out_texts(research_data) if len(t.text.split()) >= 6} & keys
    own = [text.key for text in films(research_data)]
    assert len(own) == len(set(own)) > 9000
    assert sum(text.source == "editorials" for text in trained) <= 100


@pytest.mark.data
def test_degrees_are_put_on_the_scale_of_the_ratings(research_data):
    assert degree_slope(research_data) == pytest.approx(SST5_SLOPE, abs=0.01)


@pytest.mark.data
def test_tweets_choose_among_three_emotions(research_data):
    assert {text.emotion.among for text in tweets(research_data, "train")} == {
        tuple(name in ("angry", "happy", "sad") for name in EMOTIONS)
    }
    assert labelled_texts.tweets(research_data, "test") == []
