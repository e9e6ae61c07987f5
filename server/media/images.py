"""Reads the images of a stream: checks the header first, then decodes no finer than needed. It knows no faces."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import cv2
import numpy as np

from contract.faces import Image
from server.media.errors import MediaError

MIN_SIDE: Final = 16
MAX_SIDE: Final = 4096
MAX_PIXELS: Final = 4096 * 2304
"""More than 4K UHD has. What a header announces is checked before a byte of the image is decoded."""
MAX_FACES: Final = 4
MAX_SCANS: Final = 64
"""Of a JPEG; usual progressive ones have about ten."""
MAX_SCANNED_PIXELS: Final = 30_000_000
"""Pixels of a JPEG times its scans, as each scan is a pass over the whole image."""
MAX_PNG_CHUNKS: Final = 4096
"""libpng writes one for each 8 KiB."""
HEAVY_JPEG: Final = 1_500_000
HEAVY_PNG: Final = 150_000
"""Scanned pixels of a JPEG, and pixels of a PNG, that take about 10 ms: whoever sends more waits in a lane apart."""

_REDUCED: Final = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_COLOR_RGB,
}
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Start of frame, ITU-T T.81 table B.1: C0 to CF without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE_MARKERS: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_START_OF_SCAN: Final = b"\xff\xda"
_PNG_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})
"""What the pixels depend on. All else is left out: compressed text and profiles inflate to hundreds of megabytes."""


class VideoEncoding(StrEnum):
    """How a message's bytes are to be read."""

    JPEG = "jpeg"
    PNG = "png"
    RGB24 = "rgb24"


class ImageSize(NamedTuple):
    """Pixels, as the header says."""

    width: int
    height: int


@dataclass(frozen=True)
class VideoSettings:
    """What a session said about its images; raises MediaError when it can't be.

    Width and height are of RGB24 only, and required there: other encodings carry their size in each image.
    """

    encoding: VideoEncoding
    face_crop: bool = False
    width: int | None = None
    height: int | None = None
    max_faces: int = 1
    """Faces that are followed at a time."""
    face_nearest: tuple[float, float] | None = None
    """Where the speaker's face is expected, as shares of the image's width and height; None for the largest face."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_faces <= MAX_FACES:
            raise MediaError(f"max_faces must be 1 to {MAX_FACES}, got {self.max_faces}")
        if self.face_nearest is not None and not all(0 <= share <= 1 for share in self.face_nearest):
            raise MediaError(f"face_nearest must lie in the image, from 0 to 1, got {self.face_nearest}")
        if self.face_crop and (self.face_nearest is not None or self.max_faces > 1):
            raise MediaError("images that are face crops hold one face each: face_nearest and max_faces do not apply")
        if self.encoding == VideoEncoding.RGB24:
            if self.width is None or self.height is None:
                raise MediaError("rgb24 images need width and height")
            _check_size(ImageSize(self.width, self.height))


def read_size(settings: VideoSettings, data: bytes) -> ImageSize:
    """Return what the header of an image says, without decoding it.

    Raises:
        MediaError: the data is not an image of this encoding, or its sides lie outside the bounds.
    """
    if not data:
        raise MediaError(f"{settings.encoding} image is empty")
    match settings.encoding:
        case VideoEncoding.JPEG:
            size = _jpeg_size(data)
        case VideoEncoding.PNG:
            size = _png_size(data)
        case VideoEncoding.RGB24:
            return _rgb24_size(settings, data)
    _check_size(size)
    return size


def decode(settings: VideoSettings, size: ImageSize, data: bytes, reduction: int = 1) -> Image:
    """Decode an image whose header was read, shrunk by `reduction` (1, 2, 4 or 8; RGB24 is never shrunk).

    Returns:
        uint8 [H, W, 3], RGB, upright where the image carries an EXIF orientation.

    Raises:
        MediaError: the image is truncated or corrupt. Flipped bits within a JPEG's coefficients can't be noticed.
    """
    raw = np.frombuffer(data, np.uint8)
    if settings.encoding == VideoEncoding.RGB24:
        return raw.reshape(size.height, size.width, 3)
    if settings.encoding == VideoEncoding.JPEG:
        _check_scans(size, data)
    else:
        raw = np.frombuffer(_essential_png(data), np.uint8)
    try:
        image = cv2.imdecode(raw, _REDUCED[reduction])
    except cv2.error as error:
        raise MediaError(f"{settings.encoding} image can't be decoded: {error.err}") from error
    if image is None:
        raise MediaError(f"{settings.encoding} image of {size.width} x {size.height} is truncated or corrupt")
    return np.asarray(image, dtype=np.uint8)


def is_heavy(settings: VideoSettings, data: bytes) -> bool:
    """Tell, from the header alone, whether decoding takes so long that other sessions should not wait for it."""
    if settings.encoding == VideoEncoding.RGB24:
        return False
    try:
        size = read_size(settings, data)
    except MediaError:
        return False  # it will be refused without being decoded
    pixels = size.width * size.height
    if settings.encoding == VideoEncoding.PNG:
        return pixels > HEAVY_PNG
    if pixels * MAX_SCANS <= HEAVY_JPEG:
        return False  # saves the counting, which takes a millisecond for the largest messages
    return pixels * _scans(data) > HEAVY_JPEG


def coarsest_reduction(factor: float) -> int:
    """Return the largest reduction that shrinks by no more than `factor`."""
    return max(step for step in _REDUCED if step == 1 or step <= factor)


def _check_size(size: ImageSize) -> None:
    width, height = size
    if min(size) < MIN_SIDE or max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise MediaError(
            f"image of {width} x {height}: sides must be {MIN_SIDE} to {MAX_SIDE} pixels, "
            f"with at most {MAX_PIXELS / 1e6:.1f} million pixels"
        )


def _scans(data: bytes) -> int:
    """Count the markers of scans. `bytes.count` takes 8 ms for 4 MiB, with the interpreter's lock."""
    raw = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(raw[:-1] == _JPEG_START_OF_SCAN[0])
    return int(np.count_nonzero(raw[marks + 1] == _JPEG_START_OF_SCAN[1]))


def _check_scans(size: ImageSize, data: bytes) -> None:
    scans = _scans(data)
    if scans > MAX_SCANS:
        raise MediaError(f"JPEG image has more than {MAX_SCANS} scans")
    if size.width * size.height * scans > MAX_SCANNED_PIXELS:
        raise MediaError(
            f"JPEG image of {size.width} x {size.height} with {scans} scans: "
            f"pixels times scans must be at most {MAX_SCANNED_PIXELS / 1e6:g} million"
        )


def _essential_png(data: bytes) -> bytes:
    """Return the PNG with the chunks that its pixels depend on (PNG specification, 5.3: length, type, data, CRC)."""
    kept = [_PNG_SIGNATURE]
    position = len(_PNG_SIGNATURE)
    for _ in range(MAX_PNG_CHUNKS):
        if position + 12 > len(data):
            return b"".join(kept)
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] in _PNG_CHUNKS:
            kept.append(data[position:end])
        position = end
    raise MediaError(f"PNG image has more than {MAX_PNG_CHUNKS} chunks")


def _rgb24_size(settings: VideoSettings, data: bytes) -> ImageSize:
    assert settings.width is not None and settings.height is not None  # noqa: PT018  # checked in __post_init__
    expected = settings.width * settings.height * 3
    if len(data) != expected:
        raise MediaError(
            f"rgb24 image of {len(data)} bytes: {settings.width} x {settings.height} takes {expected} bytes"
        )
    return ImageSize(settings.width, settings.height)


def _png_size(data: bytes) -> ImageSize:
    if not data.startswith(_PNG_SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 24:
        raise MediaError(f"not a PNG image: {len(data)} bytes that begin with {data[:8].hex(' ')}")
    return ImageSize(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))


def _jpeg_size(data: bytes) -> ImageSize:
    """Walk over the segments up to the start of frame (T.81, annex B)."""
    if not data.startswith(b"\xff\xd8\xff"):
        raise MediaError(f"not a JPEG image: {len(data)} bytes that begin with {data[:8].hex(' ')}")
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _JPEG_BARE_MARKERS:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _JPEG_START_OF_SCAN[1]:
            break
        if marker in _JPEG_FRAME_MARKERS and position + 9 <= len(data):
            height, width = data[position + 5 : position + 7], data[position + 7 : position + 9]
            return ImageSize(int.from_bytes(width, "big"), int.from_bytes(height, "big"))
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    raise MediaError(f"JPEG image of {len(data)} bytes has no frame header")
