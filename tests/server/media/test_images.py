import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.media.errors import MediaError
from server.media.images import (
    MAX_SCANS,
    ImageSize,
    VideoEncoding,
    VideoSettings,
    _essential_png,
    coarsest_reduction,
    decode,
    is_heavy,
    read_size,
)

Image = NDArray[np.uint8]
Encode = Callable[[Image, str], bytes]
JPEG, PNG = VideoSettings(VideoEncoding.JPEG), VideoSettings(VideoEncoding.PNG)


@pytest.mark.parametrize(("settings", "suffix"), [(JPEG, ".jpg"), (PNG, ".png")])
@pytest.mark.parametrize("size", [(512, 512), (317, 65), (16, 4096)])
def test_size_is_read_from_the_header(
    portrait: Image, encode: Encode, settings: VideoSettings, suffix: str, size: tuple[int, int]
) -> None:
    data = encode(np.asarray(cv2.resize(portrait, size), np.uint8), suffix)
    assert read_size(settings, data) == size
    assert decode(settings, ImageSize(*size), data).shape == (size[1], size[0], 3)


def test_colours_are_rgb(portrait: Image, encode: Encode) -> None:
    size = ImageSize(512, 512)
    np.testing.assert_array_equal(decode(PNG, size, encode(portrait, ".png")), portrait)
    raw = VideoSettings(VideoEncoding.RGB24, width=512, height=512)
    np.testing.assert_array_equal(decode(raw, size, portrait.tobytes()), portrait)
    jpeg = decode(JPEG, size, encode(portrait, ".jpg")).astype(int)
    assert np.abs(jpeg - portrait).mean() < 4


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_decoding_shrinks_the_same_picture(portrait: Image, encode: Encode, reduction: int) -> None:
    side = 512 // reduction
    small = decode(JPEG, ImageSize(512, 512), encode(portrait, ".jpg"), reduction)
    expected = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    assert small.shape == (side, side, 3)
    assert np.abs(small.astype(int) - expected).mean() < 5


def test_coarsest_reduction() -> None:
    assert [coarsest_reduction(factor) for factor in (0.5, 1, 1.9, 2, 3.9, 4, 8, 100)] == [1, 1, 1, 2, 2, 4, 8, 8]


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + bytes(14) + b"\xff\xc0" + frame


@pytest.mark.parametrize(
    ("settings", "bomb"),
    [
        (PNG, png_header(65_000, 65_000)),
        (JPEG, jpeg_header(65_000, 65_000)),
        (JPEG, jpeg_header(4097, 100)),
        (JPEG, jpeg_header(4096, 4096)),
        (PNG, png_header(100, 15)),
        (JPEG, jpeg_header(0, 0)),
    ],
)
def test_size_is_bounded_by_the_header_alone(settings: VideoSettings, bomb: bytes) -> None:
    with pytest.raises(MediaError, match="sides must be 16 to 4096 pixels"):
        read_size(settings, bomb)


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        (JPEG, b"", "jpeg image is empty"),
        (JPEG, b"GIF89a" + bytes(50), "not a JPEG image: 56 bytes that begin with 47 49 46"),
        (JPEG, b"\xff\xd8\xff", "no frame header"),
        (JPEG, b"\xff\xd8" + b"\xff" * 100, "no frame header"),
        (JPEG, b"\xff\xd8\xff\xe0\x00\x00" + bytes(20), "no frame header"),
        (PNG, b"\x89PNG\r\n\x1a\n", "not a PNG image"),
        (PNG, jpeg_header(64, 64), "not a PNG image"),
    ],
)
def test_what_is_no_image(settings: VideoSettings, data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        read_size(settings, data)


@pytest.mark.parametrize(("settings", "suffix"), [(JPEG, ".jpg"), (PNG, ".png")])
@pytest.mark.parametrize("part", [0.95, 0.5, 0.1])
def test_truncated_images(portrait: Image, encode: Encode, settings: VideoSettings, suffix: str, part: float) -> None:
    data = encode(portrait, suffix)
    with pytest.raises(MediaError, match="image of 512 x 512 is truncated or corrupt"):
        decode(settings, ImageSize(512, 512), data[: int(len(data) * part)], 4)


def test_a_jpeg_of_too_many_scans(portrait: Image, encode: Encode) -> None:
    data = encode(portrait, ".jpg")
    scan = data.index(b"\xff\xda")
    bomb = data[:scan] + data[scan : scan + 20] * (MAX_SCANS + 1) + data[scan:]
    with pytest.raises(MediaError, match="more than 64 scans"):
        decode(JPEG, ImageSize(512, 512), bomb)


def test_a_large_jpeg_may_have_fewer_scans(portrait: Image) -> None:
    large = cv2.resize(portrait, (4096, 2304))
    progressive, plain = (
        cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_PROGRESSIVE, value])[1].tobytes() for value in (1, 0)
    )
    assert decode(JPEG, ImageSize(4096, 2304), plain, 8).shape == (288, 512, 3)
    with pytest.raises(MediaError, match="pixels times scans must be at most"):
        decode(JPEG, ImageSize(4096, 2304), progressive, 8)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def test_what_a_png_holds_beside_its_pixels_is_not_even_inflated(portrait: Image, encode: Encode) -> None:
    data = encode(portrait, ".png")
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000)))
    essential = _essential_png(data[:33] + text * 1000 + data[33:])
    assert essential == _essential_png(data)
    np.testing.assert_array_equal(decode(PNG, ImageSize(512, 512), data), decode(PNG, ImageSize(512, 512), essential))


def test_a_png_of_too_many_chunks(portrait: Image, encode: Encode) -> None:
    data = encode(portrait, ".png")
    with pytest.raises(MediaError, match="more than 4096 chunks"):
        decode(PNG, ImageSize(512, 512), data[:33] + png_chunk(b"IDAT", b"") * 5000 + data[33:])


@pytest.mark.parametrize(
    ("settings", "size", "progressive", "heavy"),
    [
        (JPEG, (640, 480), 0, False),
        (JPEG, (640, 480), 1, True),
        (JPEG, (1920, 1080), 0, True),
        (PNG, (320, 240), 0, False),
        (PNG, (640, 480), 0, True),
    ],
)
def test_heavy_images_are_known_by_their_headers(portrait: Image, settings, size, progressive, heavy) -> None:
    picture = cv2.resize(portrait, size)
    data = cv2.imencode(f".{settings.encoding}", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    assert is_heavy(settings, data) is heavy
    assert not is_heavy(settings, b"no image")


def test_progressive_jpegs_are_fine(portrait: Image) -> None:
    done, data = cv2.imencode(".jpg", portrait, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    assert read_size(JPEG, data.tobytes()) == (512, 512)
    assert decode(JPEG, ImageSize(512, 512), data.tobytes(), 2).shape == (256, 256, 3)


def test_rgb24_needs_its_exact_size() -> None:
    with pytest.raises(MediaError, match="rgb24 images need width and height"):
        VideoSettings(VideoEncoding.RGB24)
    with pytest.raises(MediaError, match="sides must be 16 to 4096"):
        VideoSettings(VideoEncoding.RGB24, width=5000, height=100)
    with pytest.raises(MediaError, match="rgb24 image of 100 bytes: 20 x 20 takes 1200 bytes"):
        read_size(VideoSettings(VideoEncoding.RGB24, width=20, height=20), bytes(100))
