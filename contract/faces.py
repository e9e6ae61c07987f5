"""Geometry of the face crop, the same in training and serving."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

FACE_SIZE: Final = 64
FACE_SCALE: Final = 1.1
"""Side of the crop, relative to the larger side of the detected box."""

Image = NDArray[np.uint8]


def crop_square(image: Image, box: tuple[float, float, float, float]) -> Image:
    """Cut the square of `FACE_SCALE` x the larger side around the centre of `box` and resize it to the face size.

    Args:
        image: uint8 [H, W, 3], RGB.
        box: left, top, width, height in pixels; may reach over the border, whose pixels are then replicated.

    Returns:
        uint8 [FACE_SIZE, FACE_SIZE, 3], RGB.

    Raises:
        ValueError: the image is not uint8 [H, W, 3], or the box is empty or lies wholly outside the image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    left, top, width, height = box
    rows, columns = image.shape[:2]
    if width <= 0 or height <= 0:
        raise ValueError(f"face box must not be empty, got {width:g} x {height:g}")
    if left >= columns or top >= rows or left + width <= 0 or top + height <= 0:
        raise ValueError(f"face box {box} lies outside the image of {columns} x {rows}")
    side = max(1, round(FACE_SCALE * max(width, height)))
    x0 = round(left + width / 2 - side / 2)
    y0 = round(top + height / 2 - side / 2)
    pad = (max(0, -y0), max(0, y0 + side - rows), max(0, -x0), max(0, x0 + side - columns))
    inside = image[max(0, y0) : min(rows, y0 + side), max(0, x0) : min(columns, x0 + side)]
    square = cv2.copyMakeBorder(inside, *pad, borderType=cv2.BORDER_REPLICATE)
    return resize_face(np.asarray(square, dtype=np.uint8))


def resize_face(image: Image) -> Image:
    """Resize a ready square crop, uint8 [H, W, 3], to [FACE_SIZE, FACE_SIZE, 3].

    Area averaging when shrinking, bilinear when enlarging (FER2013's 48 x 48 images are enlarged with it in training).
    """
    if image.shape[:2] == (FACE_SIZE, FACE_SIZE):
        return image
    shrink = min(image.shape[:2]) > FACE_SIZE
    interpolation = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (FACE_SIZE, FACE_SIZE), interpolation=interpolation), dtype=np.uint8)
