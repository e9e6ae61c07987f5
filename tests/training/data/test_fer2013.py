import numpy as np
import pytest
import torch

from contract.labels import EMOTIONS
from training.data import fer2013
from training.data.fer2013 import Fer2013
from training.data.folder import DataMissingError
from training.teachers.fetch import TeacherError
from training.teachers.net_recipes import NetRecipe


def test_training_has_no_duplicates_of_other_splits_and_no_contradictions(corpora):
    train = fer2013.load(corpora, "train")
    assert len(train) == 1  # 0 is in valid, 1 in test, 3 and 4 are one image with two labels
    assert EMOTIONS[train.labels[0]] == "sad"  # class 2 of the file's own order


def test_held_out_splits_stay_as_they_are(corpora):
    test = fer2013.load(corpora, "test")
    assert len(test) == 2
    assert fer2013.duplicates_of_train(corpora, test).tolist() == [False, True]


def test_faces_become_the_face_tensor():
    grey = np.tile(np.arange(48, dtype=np.uint8), (2, 48, 1))
    faces = fer2013.to_rgb(fer2013.enlarge(grey))
    assert (faces.shape, faces.dtype) == ((2, 64, 64, 3), np.uint8)
    assert (faces[..., 0] == faces[..., 2]).all()
    assert (np.diff(faces[0, 0, :, 0].astype(int)) >= 0).all()


def test_a_missing_file_and_a_missing_array_are_named(tmp_path):
    with pytest.raises(DataMissingError, match=r"corpus fer2013: .*train\.npz does not exist"):
        fer2013.load(tmp_path, "train")
    (tmp_path / "fer2013").mkdir()
    np.savez(tmp_path / "fer2013/valid.npz", image=np.zeros((1, 48, 48), np.uint8))
    with pytest.raises(DataMissingError, match="no array classes, label"):
        fer2013.load(tmp_path, "valid")


@pytest.mark.data
def test_the_real_duplicates_are_gone(research_data):
    train = {image.tobytes() for image in fer2013.load(research_data, "train").images}
    for split in ("valid", "test"):
        assert not train & {image.tobytes() for image in fer2013.load(research_data, split).images}
    assert 27_000 < len(fer2013.load(research_data, "train")) < 28_709


@pytest.fixture(scope="module")
def task(tiny, cache):
    return Fer2013(tiny, cache, train_faces=70)


def images(samples) -> set[bytes]:
    return {face.numpy().tobytes() for face in samples.inputs["face"]}


def test_students_and_teachers_share_no_training_image(task, tiny):
    students, others = task.samples("train"), task.others()
    assert len(students) == 70
    assert len(students) + len(others) == len(fer2013.load(tiny, "train"))
    assert not images(students) & images(others)
    for split in ("valid", "test"):
        assert not images(task.samples(split)) & (images(students) | images(others))


def test_the_subset_is_always_the_same_and_balanced_as_the_whole(task, tiny):
    again = Fer2013(tiny, train_faces=70)
    assert torch.equal(task.samples("train").inputs["face"], again.samples("train").inputs["face"])
    assert task.samples("train").target.bincount().tolist() == pytest.approx([10] * 7, abs=1)


def test_more_faces_than_there_are(tiny):
    task = Fer2013(tiny, train_faces=10_000)
    assert len(task.samples("train")) == 210
    assert len(task.others()) == 0


def test_a_net_teaches_what_it_learned_on_the_others(task, monkeypatch):
    monkeypatch.setattr(fer2013, "CNN", NetRecipe(epochs=15, learning_rate=1e-2, batch=32))
    bank = task.teacher("cnn_small")
    output = bank.outputs("test")
    assert (output.logits.argmax(1) == task.samples("test").target).float().mean() > 0.4
    assert output.features["h1"].shape == (14, 32, 12, 12)
    assert output.features["h1"].dtype == torch.float16
    monkeypatch.setattr(fer2013, "train_net", lambda *_: pytest.fail("trained again"))
    assert torch.equal(bank.outputs("test").logits, output.logits)


def test_the_fer_net_is_fetched(task):
    with pytest.raises(TeacherError, match="fetch-teachers"):
        task.teacher("fer").outputs("train")
