import pytest
import torch

from training.data import fer2013
from training.tasks import fer2013 as module
from training.tasks.fer2013 import Fer2013
from training.teachers.fetch import TeacherError
from training.teachers.net_recipes import NetRecipe


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
    monkeypatch.setattr(module, "CNN", NetRecipe(epochs=15, learning_rate=1e-2, batch=32))
    bank = task.teacher("cnn_small")
    output = bank.outputs("test")
    assert (output.logits.argmax(1) == task.samples("test").target).float().mean() > 0.4
    assert output.features["h1"].shape == (14, 32, 12, 12)
    assert output.features["h1"].dtype == torch.float16
    monkeypatch.setattr(module, "train_net", lambda *_: pytest.fail("trained again"))
    assert torch.equal(bank.outputs("test").logits, output.logits)


def test_the_fer_net_is_fetched(task):
    with pytest.raises(TeacherError, match="fetch-teachers"):
        task.teacher("fer").outputs("train")
