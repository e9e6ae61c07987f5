"""Finds faces in a picture with the Haar cascade that ships inside OpenCV's wheel. It knows no time: see `tracking.py`.

The application sets `cv2.setNumThreads(1)` once: with OpenCV's own thread pool the order of candidates, and with it the
last digit of a box, would depend on the machine.
"""

import threading
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.faces import Image

COARSE_AREA: Final = 160 * 120
FINE_AREA: Final = 240 * 180
"""Pixels of the pictures that are searched. The cascade's smallest face is 20 pixels, so these find faces from about a
fifth, and from a tenth, of the height of a 4:3 picture."""
_FACE_SIDE: Final = 0.9
"""Side of the face relative to the cascade's box. FER2013's images, on which students learn, are framed like that box
(its median side there is 1.02 of the image's), and `crop_square` takes 1.1 x the face."""
_SMALLEST: Final = 20
_FINE_LARGEST: Final = 40
"""The fine search leaves out what the coarse one finds."""
_SCAN_STEP: Final = 1.15
_SCAN_NEIGHBOURS: Final = 3

_NEAR_FACE: Final = 32
"""Pixels to which the last face is scaled when it is searched in its neighbourhood."""
_NEAR_REACH: Final = 1.9
"""Side of the neighbourhood, relative to the face's."""
_NEAR_SIZES: Final = (0.75, 1.35)
_NEAR_STEP: Final = 1.08
_NEAR_NEIGHBOURS: Final = 2


class Box(NamedTuple):
    """A square around a face, in pixels of its picture; may reach over the border."""

    left: float
    top: float
    width: float
    height: float

    def scaled(self, factor: float) -> "Box":
        """Return the same box in a picture that is `factor` times as large."""
        return Box(*(factor * value for value in self))

    def resized(self, factor: float) -> "Box":
        """Return a box around the same centre whose sides are `factor` times as long."""
        (x, y), width, height = self.centre, self.width * factor, self.height * factor
        return Box(x - width / 2, y - height / 2, width, height)

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, x and y."""
        return self.left + self.width / 2, self.top + self.height / 2

    def overlap(self, other: "Box") -> float:
        """Intersection over union with another box, in [0, 1]."""
        width = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        height = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        shared = max(0.0, width) * max(0.0, height)
        return shared / (self.width * self.height + other.width * other.height - shared)


class FaceDetector(Protocol):
    """Finds faces. Without state: the same picture always gives the same boxes."""

    def scan(self, picture: Image, fine: bool) -> list[Box]:
        """Search a whole picture, uint8 [H, W, 3] RGB, for large faces, or (`fine`) for small ones."""
        ...

    def near(self, picture: Image, last: Box) -> Box | None:
        """Search around the place where a face was a moment ago, for one of about the same size."""
        ...


class HaarDetector:
    """Viola & Jones' detector (CVPR 2001) with OpenCV's `frontalface_alt2` cascade (Lienhart & Maydt 2002).

    Of the cascades in the wheel it is the quickest and gave no false face in our measurements. It may be shared between
    threads: each loads its own cascade, as OpenCV's is not safe to share.
    """

    def __init__(self) -> None:
        self._path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
        self._local = threading.local()
        self._load()

    def scan(self, picture: Image, fine: bool) -> list[Box]:
        """See `FaceDetector`. Largest first."""
        rows, columns = picture.shape[:2]
        factor = min(1.0, ((FINE_AREA if fine else COARSE_AREA) / (rows * columns)) ** 0.5)
        grey = _grey(picture, (max(1, round(columns * factor)), max(1, round(rows * factor))))
        largest = _FINE_LARGEST if fine else max(grey.shape)
        found = self._detect(grey, _SCAN_STEP, _SCAN_NEIGHBOURS, _SMALLEST, largest)
        faces = [box.scaled(1 / factor).resized(_FACE_SIDE) for box in found]
        return sorted(faces, key=lambda box: (-box.width, box))

    def near(self, picture: Image, last: Box) -> Box | None:
        """See `FaceDetector`. Of several, the one nearest to the last place."""
        last = last.resized(1 / _FACE_SIDE)
        patch, left, top = _neighbourhood(picture, last)
        if not patch.size:
            return None
        factor = _NEAR_FACE / last.width
        rows, columns = patch.shape[:2]
        grey = _grey(patch, (max(1, round(columns * factor)), max(1, round(rows * factor))))
        smallest, largest = (round(_NEAR_FACE * size) for size in _NEAR_SIZES)
        found = [
            Box(box.left / factor + left, box.top / factor + top, box.width / factor, box.height / factor)
            for box in self._detect(grey, _NEAR_STEP, _NEAR_NEIGHBOURS, smallest, largest)
        ]
        best = max(found, key=lambda box: (box.overlap(last), box), default=None)
        return None if best is None else best.resized(_FACE_SIDE)

    def _detect(self, grey: NDArray[np.uint8], step: float, neighbours: int, smallest: int, largest: int) -> list[Box]:
        found = self._load().detectMultiScale(
            grey, step, neighbours, minSize=(smallest, smallest), maxSize=(largest, largest)
        )
        return [Box(*map(float, box)) for box in found]

    def _load(self) -> cv2.CascadeClassifier:
        cascade: cv2.CascadeClassifier | None = getattr(self._local, "cascade", None)
        if cascade is None:
            cascade = self._local.cascade = cv2.CascadeClassifier(str(self._path))
            if cascade.empty():
                raise FileNotFoundError(f"no face cascade at {self._path}: is opencv-python-headless 4.11 installed?")
        return cascade


def _neighbourhood(picture: Image, last: Box) -> tuple[Image, int, int]:
    """Return the part of the picture around a box, and its left and top."""
    rows, columns = picture.shape[:2]
    x, y = last.centre
    reach = last.width * _NEAR_REACH / 2
    left, top = max(0, round(x - reach)), max(0, round(y - reach))
    right, bottom = max(left, min(columns, round(x + reach))), max(top, min(rows, round(y + reach)))
    return picture[top:bottom, left:right], left, top


def _grey(picture: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize first, since the small picture costs nothing to turn grey."""
    shrinks = size[0] < picture.shape[1]
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
