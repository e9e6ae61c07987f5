import numpy as np
import pytest

from training.data import fer2013
from training.data.ferplus import VotedFaces, load_faces


def faces(votes, other):
    count = len(votes)
    return VotedFaces(
        np.zeros((count, 48, 48), np.uint8),
        np.zeros(count, np.int64),
        np.array(votes, np.float32),
        np.array(other, np.float32),
        np.zeros(count, bool),
    )


def test_majority_and_plurality_count_all_votes():
    some = faces(
        [[6, 0, 0, 4, 0, 0, 0], [5, 0, 0, 0, 0, 0, 4], [5, 0, 0, 0, 0, 0, 5], [2, 0, 0, 0, 0, 0, 0], [0] * 7],
        [[0, 0, 0], [1, 0, 0], [0, 0, 0], [8, 0, 0], [0, 0, 0]],
    )
    assert some.majority.tolist() == [0, -1, -1, -1, -1]  # half is not more than half
    assert some.plurality.tolist() == [0, 0, -1, -1, -1]  # a tie, contempt, nobody
    assert some.people.sum(1).tolist() == pytest.approx([1, 1, 1, 1, 0])


@pytest.mark.data
def test_pixels_labels_and_votes_belong_together(research_data):
    test = load_faces(research_data, "test")
    assert len(test) == 1743
    clear = test.majority >= 0
    assert clear.sum() > 1200
    assert (test.majority == test.labels)[clear].mean() > 0.65  # by chance it would be a quarter
    equalised = fer2013.read_split(research_data, "test").images
    assert test.images.std() < 0.85 * equalised.std()


@pytest.mark.data
def test_no_image_is_trained_on_that_measures(research_data):
    train = load_faces(research_data, "train")
    held = {image.tobytes() for split in ("valid", "test") for image in load_faces(research_data, split).images}
    assert len(train) > 27_000
    assert not train.duplicate.any()
    assert not held & {image.tobytes() for image in train.images}
