"""Faces as cameras and detectors deliver them: compressed, small, dim, and cropped a little wrongly.

Every function takes uint8 [H, W] or [H, W, 3] and returns the same shape, unless said; what is random comes from the
generator. Used on training images as augmentation and on test images for the robustness tables.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

DETECTOR_TURN: Final = 10.0
"""Degrees that a face in a detector's box is turned either way, at most."""
DETECTOR_SHIFT: Final = 0.08
"""Of the side, that a detector's box is off the middle of the face, at most."""
DETECTOR_SCALE: Final = 0.15
"""How much larger or smaller than the labelled crop a detector's box is, at most."""


def jpeg(image: Image, quality: int = 30) -> Image:
    """Compress and decompress."""
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV refuses no uint8 image"
    kind = cv2.IMREAD_GRAYSCALE if image.ndim == 2 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(encoded, kind), dtype=np.uint8)


def smaller(image: Image, factor: float = 0.5) -> Image:
    """Lose the detail that a face of `factor` times the size has not."""
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def dim(image: Image, generator: np.random.Generator, light: float = 0.25, noise: float = 3.0) -> Image:
    """Take `light` of the light, and add the sensor's noise: of deviation `noise` grey levels."""
    dark = image.astype(np.float32) * light + generator.normal(0.0, noise, image.shape)
    return np.clip(np.rint(dark), 0, 255).astype(np.uint8)


def detector_crop(image: Image, generator: np.random.Generator, side: int) -> Image:
    """Turn, shift and scale as a detector's box does, and resize: [H, W] or [H, W, 3] -> `side` x `side`.

    What lies outside the image repeats its border.
    """
    height, width = image.shape[:2]
    turn = generator.uniform(-DETECTOR_TURN, DETECTOR_TURN)
    scale = side / width * generator.uniform(1 - DETECTOR_SCALE, 1 + DETECTOR_SCALE)
    matrix = np.array(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, scale), dtype=np.float64)
    shift = generator.uniform(-DETECTOR_SHIFT, DETECTOR_SHIFT, 2) * side
    matrix[:, 2] += (side - 1) / 2 - np.array([(width - 1) / 2, (height - 1) / 2]) + shift
    turned = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, dtype=np.uint8)


DEGRADATIONS: Final = {
    "jpeg_30": lambda image, generator: jpeg(image, 30),
    "half_size": lambda image, generator: smaller(image, 0.5),
    "dim": lambda image, generator: dim(image, generator),
}
"""Those of the robustness tables."""


def degraded(image: Image, generator: np.random.Generator, share: float = 0.3) -> Image:
    """Return the image, or with probability `share` one of: JPEG 20 to 70, a third to 80 % of the size, dim."""
    if generator.random() >= share:
        return image
    kind = generator.integers(3)
    if kind == 0:
        return jpeg(image, int(generator.integers(20, 71)))
    if kind == 1:
        return smaller(image, generator.uniform(0.33, 0.8))
    return dim(image, generator, generator.uniform(0.2, 0.7), generator.uniform(1.0, 4.0))
