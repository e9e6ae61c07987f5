import numpy as np
import pytest

from training.data.degraded_faces import DEGRADATIONS, degraded, detector_crop, dim, jpeg, smaller


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def picture(channels=()):
    """A grey disc off the middle, with fine noise on it."""
    rows, columns = np.mgrid[:64, :64]
    disc = 60 + 120 * ((rows - 30) ** 2 + (columns - 34) ** 2 < 400)
    image = np.clip(disc + np.random.default_rng(1).normal(0, 10, (64, 64)), 0, 255).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2) if channels else image


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("name", DEGRADATIONS)
def test_shape_and_type_stay(name, channels, generator):
    image = picture(channels)
    worse = DEGRADATIONS[name](image, generator)
    assert (worse.shape, worse.dtype) == (image.shape, np.uint8)
    assert not np.array_equal(worse, image)


def test_less_quality_is_further_from_the_picture():
    image = picture().astype(float)
    errors = [np.abs(jpeg(picture(), quality) - image).mean() for quality in (95, 50, 10)]
    assert errors == sorted(errors)


def test_a_smaller_face_loses_detail_and_keeps_its_light():
    small = smaller(picture(), 0.25)
    assert np.abs(np.diff(small.astype(int))).mean() < 0.5 * np.abs(np.diff(picture().astype(int))).mean()
    assert small.mean() == pytest.approx(picture().mean(), abs=1)


def test_dim_light(generator):
    assert dim(picture(), generator, light=0.25, noise=0.0).mean() == pytest.approx(picture().mean() / 4, abs=1)


def test_a_detector_s_crop_keeps_the_face_about_where_it_is(generator):
    for _ in range(20):
        crop = detector_crop(picture(), generator, 48)
        assert crop.shape == (48, 48)
        rows, columns = np.nonzero(crop > 130)
        assert abs(rows.mean() - 30 * 48 / 64) < 48 * 0.15
        assert abs(columns.mean() - 34 * 48 / 64) < 48 * 0.15


def test_a_share_is_degraded():
    image = picture()
    untouched = [np.array_equal(degraded(image, np.random.default_rng(i), 0.3), image) for i in range(200)]
    assert 0.6 < np.mean(untouched) < 0.8
