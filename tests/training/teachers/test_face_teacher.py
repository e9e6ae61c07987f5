import numpy as np
import pytest
import torch

from training.data.ferplus import VotedFaces
from training.teachers.face_teacher import FaceNet, FaceRecipe, FaceTraining, augmented, face_loss, face_outputs

RECIPE = FaceRecipe(widths=(8, 16, 16), blocks=1, epochs=3, batch=8, learning_rate=0.05, mixup=0.0, dropout=0.0)


def faces(count=48):
    """Bright above is class 0, bright below class 3; one in three without votes."""
    generator = np.random.default_rng(0)
    images = generator.integers(60, 100, (count, 48, 48)).astype(np.uint8)
    labels = np.where(np.arange(count) % 2, 3, 0)
    for image, label in zip(images, labels, strict=True):
        image[slice(24, 48) if label else slice(0, 24)] += 100
    votes = 10 * np.eye(7, dtype=np.float32)[labels]
    votes[::3] = 0
    return VotedFaces(images, labels, votes, np.zeros((count, 3), np.float32), np.zeros(count, bool))


def test_both_heads_learn_and_an_epoch_can_be_the_last_before_a_stop(tmp_path):
    some = faces()
    history = []
    FaceTraining(some, FaceRecipe(**{**vars(RECIPE), "epochs": 8}), tmp_path / "net.pt").run(
        lambda epoch, terms: history.append((epoch, terms["people"]))
    )
    again = FaceTraining(some, FaceRecipe(**{**vars(RECIPE), "epochs": 8}), tmp_path / "net.pt")
    assert again.epoch == 8
    assert history[-1][1] < 0.5 * history[0][1]
    people, published, pooled = face_outputs([again.net.eval()], some.images)
    for answer in (people, published):
        assert (answer.argmax(1).numpy() == some.labels).mean() > 0.9
    assert pooled.shape == (48, 16)


def test_a_face_and_its_mirror_image_get_one_answer():
    net = FaceNet(RECIPE).eval()
    image = faces(4).images
    one, other = (face_outputs([net], view)[0] for view in (image, image[:, :, ::-1].copy()))
    torch.testing.assert_close(one, other)


def test_votes_that_are_not_there_teach_nothing():
    logits = torch.randn(2, 7)
    votes = torch.stack([torch.zeros(7), torch.full((7,), 1 / 7)])
    terms = face_loss(logits, logits, votes, torch.eye(7)[:2], RECIPE)
    assert terms["people"][0] == 0
    assert terms["people"][1].item() == pytest.approx(float(-logits[1].log_softmax(0).mean()), rel=1e-5)
    assert (terms["published"] > 0).all()


def test_augmentation_is_seeded_and_keeps_the_form():
    images = faces(6).images
    one = augmented(images, np.random.default_rng(1), RECIPE)
    assert (one.shape, one.dtype) == (images.shape, np.uint8)
    assert np.array_equal(one, augmented(images, np.random.default_rng(1), RECIPE))
    assert not np.array_equal(one, augmented(images, np.random.default_rng(2), RECIPE))
