import pytest

from training.teachers import packages
from training.teachers.fetch import TeacherError
from training.teachers.lexical import Nade, Vader, spaced


def test_vader():
    pytest.importorskip("vaderSentiment")
    good, bad, empty = Vader().describe(["What a great, lovely film!", "What an awful, sad mess.", ""])
    assert good[3] > 0.7
    assert bad[3] < -0.5
    assert empty[3] == 0


def test_nade(weights):
    folder = weights("nade")
    pytest.importorskip("fasttext")
    pytest.importorskip("lightgbm")
    vectors = Nade(folder).describe(["i love you so much, what a wonderful day", "i hate this, it makes me so angry"])
    assert vectors.shape == (2, 8 + 151)
    assert ((vectors >= 0) & (vectors <= 1.0001)).all()
    joy, anger = Nade.EMOTIONS.index("joy"), Nade.EMOTIONS.index("anger")
    assert vectors[0, joy] > vectors[1, joy]
    assert vectors[1, anger] > vectors[0, anger]


def test_texts_are_spaced_as_nade_was_trained():
    assert spaced("  I LOVE it!!  Really,you know?") == "i love it !! really , you know ?"


@pytest.mark.parametrize(("teacher", "make"), [("vader", lambda folder: Vader()), ("nade", Nade)])
def test_packages_that_are_missing_are_named(tmp_path, monkeypatch, teacher, make):
    def missing(name):
        raise ImportError(name)

    (tmp_path / "nade/nade/data/socialmedia_en").mkdir(parents=True)
    monkeypatch.setattr(packages.importlib, "import_module", missing)
    with pytest.raises(TeacherError, match=f"teacher {teacher} needs the package .*pip install"):
        make(tmp_path)


def test_not_fetched(tmp_path):
    with pytest.raises(TeacherError, match="fetch-teachers"):
        Nade(tmp_path)
