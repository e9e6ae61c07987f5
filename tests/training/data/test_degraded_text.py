import numpy as np
import pytest

from training.data.degraded_text import CONFUSIONS, recogniser_style

TEXT = "Well, I've never SEEN their house before; it's one of the best!"


def heard(text=TEXT, seed=0, **errors):
    return recogniser_style(text, np.random.default_rng(seed), **errors)


def test_without_errors_only_capitals_and_punctuation_go():
    assert heard(wrong=0, fillers=0) == "well i've never seen their house before it's one of the best"
    assert heard("It\u2019s 5 o'clock \u2014 NOW?!", wrong=0, fillers=0) == "it's 5 o'clock now"


def test_the_same_seed_hears_the_same():
    assert heard(seed=3, wrong=1, fillers=1) == heard(seed=3, wrong=1, fillers=1)
    assert len({heard(seed=seed, wrong=1, fillers=1) for seed in range(20)}) > 5


def test_only_confusable_words_are_wrong():
    kept = [word for word in heard(wrong=0, fillers=0).split() if word not in CONFUSIONS]
    for seed in range(50):
        words = iter(heard(seed=seed, wrong=1, fillers=0).split())
        assert all(word in words for word in kept)  # in order


def test_an_unfinished_text_is_the_beginning_of_the_whole():
    whole = heard(wrong=0, fillers=0)
    for seed in range(20):
        part = heard(seed=seed, wrong=0, fillers=0, unfinished=1)
        assert whole.startswith(part)
        assert 0.5 * len(whole.split()) <= len(part.split()) < len(whole.split())


def test_short_texts_stay_whole_and_empty_ones_empty():
    assert heard("Great!", wrong=1, fillers=1, unfinished=1) == "great"
    assert heard("...", wrong=1, fillers=1, unfinished=1) == ""


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"unfinished is a probability, got 1\.5"):
        heard(unfinished=1.5)
