import concurrent.futures

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.media.faces import Box, HaarDetector

Image = NDArray[np.uint8]
FACE = Box(177, 71, 92, 92)
"""Of the portrait, as seen by eye: from the hairline to the chin."""


def on_canvas(portrait: Image, face_side: float, at: tuple[int, int] = (0, 0)) -> tuple[Image, Box]:
    """Put the portrait on a grey picture of 640 x 480 so that its face has a given side."""
    factor = face_side / FACE.width
    small = cv2.resize(portrait[40:340, 140:400], None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    small = small[: 480 - at[1], : 640 - at[0]]
    canvas = np.full((480, 640, 3), 120, np.uint8)
    canvas[at[1] : at[1] + small.shape[0], at[0] : at[0] + small.shape[1]] = small
    face = Box(FACE.left - 140, FACE.top - 40, FACE.width, FACE.height).scaled(factor)
    return canvas, Box(face.left + at[0], face.top + at[1], face.width, face.height)


def test_box_arithmetic() -> None:
    box = Box(10, 20, 40, 40)
    assert box.centre == (30, 40)
    assert box.scaled(0.5) == (5, 10, 20, 20)
    assert box.resized(0.5) == (20, 30, 20, 20)
    assert box.overlap(box) == 1
    assert box.overlap(Box(30, 20, 40, 40)) == pytest.approx(1 / 3)
    assert box.overlap(Box(60, 20, 40, 40)) == 0


@pytest.mark.parametrize("side", [110, 160, 240, 320])
def test_the_coarse_scan_finds_large_faces(detector: HaarDetector, portrait: Image, side: int) -> None:
    picture, face = on_canvas(portrait, side)
    [found] = detector.scan(picture, fine=False)
    assert found.overlap(face) > 0.6


@pytest.mark.parametrize("side", [55, 65, 80])
def test_the_fine_scan_finds_small_faces(detector: HaarDetector, portrait: Image, side: int) -> None:
    picture, face = on_canvas(portrait, side, at=(250, 60))
    [found] = detector.scan(picture, fine=True)
    assert found.overlap(face) > 0.5


@pytest.mark.parametrize("fine", [False, True])
def test_an_empty_room_has_no_face(detector: HaarDetector, empty_room: Image, fine: bool) -> None:
    assert detector.scan(empty_room, fine) == []
    assert detector.near(empty_room, Box(200, 100, 150, 150)) is None


@pytest.mark.parametrize("move", [(-30, 20), (0, 0), (25, -25)])
@pytest.mark.parametrize("size", [0.85, 1.0, 1.15])
def test_near_finds_the_face_that_moved_a_little(
    detector: HaarDetector, portrait: Image, move: tuple[int, int], size: float
) -> None:
    picture, face = on_canvas(portrait, 150)
    last = Box(face.left + move[0], face.top + move[1], face.width, face.height).resized(size)
    found = detector.near(picture, last)
    assert found is not None
    assert found.overlap(face) > 0.6


def test_near_at_and_over_the_border(detector: HaarDetector, portrait: Image) -> None:
    cut = np.ascontiguousarray(portrait[80:400, 150:])
    face = Box(FACE.left - 150, FACE.top - 80, FACE.width, FACE.height)
    assert face.top < 0
    found = detector.near(cut, face)
    assert found is None or found.overlap(face) > 0.5
    assert detector.near(portrait, Box(-300, -300, 50, 50)) is None
    assert detector.near(portrait, Box(600, 100, 50, 50)) is None


def test_the_same_picture_gives_the_same_boxes_in_every_thread(detector: HaarDetector, portrait: Image) -> None:
    picture, face = on_canvas(portrait, 150)
    expected = detector.scan(picture, fine=False), detector.near(picture, face)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda _: (detector.scan(picture, fine=False), detector.near(picture, face)), range(6))
        assert all(result == expected for result in results)


def test_tiny_pictures_are_searched_without_error(detector: HaarDetector) -> None:
    tiny = np.zeros((16, 16, 3), np.uint8)
    assert detector.scan(tiny, fine=False) == detector.scan(tiny, fine=True) == []
    assert detector.near(tiny, Box(2, 2, 10, 10)) is None
    assert detector.near(tiny, Box(2, 2, 0.5, 0.5)) is None
