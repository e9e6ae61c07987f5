import numpy as np
import pytest
import torch

from training.models.served.video import VideoEncoder
from training.recipes.video import augment


def test_augmented_faces_are_grey_levels_and_differ():
    grey = torch.randint(0, 256, (32, 64, 64)).float()
    faces = augment(grey, np.random.default_rng(0))
    assert faces.shape == grey.shape
    assert faces.min() >= 0
    assert faces.max() <= 255
    assert (faces != grey).flatten(1).any(dim=1).all()


def test_augmentation_keeps_a_face_upright_and_in_place():
    """A bright upper left corner ends up in one of the upper corners."""
    grey = torch.zeros(64, 64, 64)
    grey[:, :24, :24] = 255
    faces = augment(grey, np.random.default_rng(0))
    assert (faces[:, :32].mean(dim=(1, 2)) > faces[:, 32:].mean(dim=(1, 2))).all()
    left = faces[:, :, :32].mean(dim=(1, 2)) > faces[:, :, 32:].mean(dim=(1, 2))
    assert 16 < int(left.sum()) < 48, "about half are flipped"


def test_colour_and_grey_give_the_same_embedding():
    model = VideoEncoder().eval()
    grey = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        colour = model.encode(grey.unsqueeze(-1).expand(-1, -1, -1, 3).contiguous())
        plain = model.encode_grey(grey.float())
    torch.testing.assert_close(colour.embedding, plain.embedding, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0), (0.6, 80)])
def test_light_hardly_matters(gain, offset):
    model = VideoEncoder().eval()
    face = torch.randint(0, 256, (1, 64, 64)).float()
    with torch.inference_mode():
        a, b = (model.encode_grey(x).embedding for x in (face, face * gain + offset))
    assert torch.nn.functional.cosine_similarity(a, b).item() > 0.99


def test_a_flat_image_is_finite():
    assert VideoEncoder().eval().encode_grey(torch.full((1, 64, 64), 7.0)).embedding.isfinite().all()
