"""Real media for the tests: a portrait from a package, pictures made of it, and encoders to send them through."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from server.media.faces import HaarDetector

Image = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _one_opencv_thread() -> Iterator[None]:
    """As in the server."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.fixture(scope="session")
def detector() -> HaarDetector:
    return HaarDetector()


@pytest.fixture(scope="session")
def portrait() -> Image:
    """uint8 [512, 512, 3], RGB, with one face of about 100 pixels around (223, 117)."""
    return np.asarray(data.astronaut(), dtype=np.uint8)


@pytest.fixture(scope="session")
def empty_room() -> Image:
    """A picture of 640 x 480 without a face."""
    return np.asarray(cv2.resize(data.coffee(), (640, 480)), dtype=np.uint8)


@pytest.fixture(scope="session")
def encode() -> Callable[[Image, str], bytes]:
    """Encode an RGB image as `.jpg` or `.png`."""

    def to_bytes(image: Image, suffix: str) -> bytes:
        done, encoded = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        assert done
        return encoded.tobytes()

    return to_bytes


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The research data; skips without them."""
    if "MOODSTREAM_DATA" not in os.environ:
        pytest.skip("needs MOODSTREAM_DATA")
    return Path(os.environ["MOODSTREAM_DATA"])
