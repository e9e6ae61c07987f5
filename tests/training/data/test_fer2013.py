import numpy as np
import pytest

from contract.labels import EMOTIONS
from training.data import fer2013
from training.data.folder import DataMissingError


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
