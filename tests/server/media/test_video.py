from collections.abc import Callable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.faces import crop_square
from contract.timing import NS_PER_S, VIDEO_SLOT_NS
from server.media.errors import MediaError
from server.media.faces import HaarDetector
from server.media.video import FacePiece, FaceTrack, FrameOutcome, VideoEncoding, VideoSettings

Image = NDArray[np.uint8]
Encode = Callable[[Image, str], bytes]
MS = 1_000_000
JPEG = VideoSettings(VideoEncoding.JPEG)
CROPS = VideoSettings(VideoEncoding.RGB24, face_crop=True, width=64, height=64)
USED, SKIPPED, NO_FACE = FrameOutcome.USED, FrameOutcome.SKIPPED, FrameOutcome.NO_FACE


def push(track: FaceTrack, offset_ns: int, data: bytes) -> tuple[FrameOutcome, FacePiece | None]:
    """Push a frame that has one face at most."""
    outcome, pieces = track.push(offset_ns, data)
    assert len(pieces) == (outcome is USED)
    return outcome, pieces[0] if pieces else None


def grey_crop(value: int) -> bytes:
    return np.full((64, 64, 3), value, np.uint8).tobytes()


def moving(portrait: Image, encode: Encode, frames: int) -> list[bytes]:
    """The portrait, swaying, as JPEGs of 320 x 240."""
    images = []
    for number in range(frames):
        x, y = round(12 * np.sin(number / 4)), round(6 * np.cos(number / 3))
        view = portrait[20 + y : 260 + y, 60 + x : 380 + x]
        images.append(encode(np.ascontiguousarray(view), ".jpg"))
    return images


def test_every_slot_takes_its_earliest_frame(detector: HaarDetector) -> None:
    track = FaceTrack(CROPS, detector)
    got = [push(track, offset * MS, grey_crop(offset % 200)) for offset in (0, 40, 199, 200, 399, 650, 700)]
    assert [outcome for outcome, _ in got] == [USED, SKIPPED, SKIPPED, USED, SKIPPED, USED, SKIPPED]
    pieces = [piece for _, piece in got if piece is not None]
    assert [(piece.slot, piece.time_ns, piece.crop[0, 0, 0]) for piece in pieces] == [
        (0, 0, 0),
        (1, 200 * MS, 0),
        (3, 650 * MS, 50),
    ]
    assert track.end_ns == 700 * MS


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=60).map(sorted))
def test_slots_over_any_offsets(offsets_ms: list[int]) -> None:
    track = FaceTrack(CROPS, HaarDetector())
    used = [piece for ms in offsets_ms if (piece := push(track, ms * MS, grey_crop(7))[1]) is not None]
    firsts = {ms // 200: ms for ms in reversed(offsets_ms)}
    assert {piece.slot: piece.time_ns // MS for piece in used} == firsts


def test_the_crop_shows_the_face(detector: HaarDetector, portrait: Image, encode: Encode) -> None:
    outcome, piece = push(FaceTrack(JPEG, detector), 0, encode(portrait, ".jpg"))
    assert outcome is USED
    assert piece is not None
    expected = crop_square(portrait, (177, 71, 92, 92))
    correlation = np.corrcoef(piece.crop.ravel(), expected.ravel())[0, 1]
    assert correlation > 0.8


@pytest.mark.parametrize("width", [1120, 640])
def test_a_small_face_is_cropped_from_the_full_resolution(
    detector: HaarDetector, portrait: Image, encode: Encode, width: int
) -> None:
    # The face has 92 pixels: fewer than 64 in a picture that is decoded at half its size.
    picture = np.full((width * 3 // 4, width, 3), 90, np.uint8)
    picture[20:320, 100:440] = portrait[40:340, 60:400]
    track = FaceTrack(JPEG, detector)
    frame = encode(picture, ".jpg")
    first = push(track, 0, frame)[1]
    second = push(track, 200 * MS, frame)[1]
    assert first is not None
    assert second is not None
    sharp, blurred = (
        cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
        for image in (crop_square(picture, (217, 51, 92, 92)), _halved_crop(picture))
    )
    for piece in (first, second):
        sharpness = cv2.Laplacian(cv2.cvtColor(piece.crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
        assert sharpness > (sharp + blurred) / 2


def _halved_crop(picture: Image) -> Image:
    half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return crop_square(np.asarray(half, np.uint8), (108.5, 25.5, 46, 46))


def test_a_corrupt_frame_leaves_its_slot_to_the_next(detector: HaarDetector, portrait: Image, encode: Encode) -> None:
    track = FaceTrack(JPEG, detector)
    good = encode(portrait, ".jpg")
    with pytest.raises(MediaError, match="truncated or corrupt"):
        push(track, 0, good[: len(good) // 2])
    assert track.end_ns == 0
    outcome, piece = push(track, 40 * MS, good)
    assert outcome is USED
    assert piece is not None
    assert (piece.slot, piece.time_ns) == (0, 40 * MS)


def test_even_a_skipped_frame_must_be_an_image(detector: HaarDetector, portrait: Image, encode: Encode) -> None:
    track = FaceTrack(JPEG, detector)
    push(track, 0, encode(portrait, ".jpg"))
    with pytest.raises(MediaError, match="not a JPEG image"):
        push(track, 40 * MS, b"garbage")
    assert push(track, 80 * MS, encode(portrait, ".jpg"))[0] is SKIPPED


def test_without_a_face_the_slot_stays_free(
    detector: HaarDetector, portrait: Image, empty_room: Image, encode: Encode
) -> None:
    track = FaceTrack(JPEG, detector)
    room, face = encode(empty_room, ".jpg"), encode(portrait, ".jpg")
    outcomes = [push(track, ms * MS, room) for ms in range(0, 1000, 40)]
    assert set(outcomes) == {(NO_FACE, None)}
    # The next search is due 1.2 s after the first: the frame of that slot that is looked at then is used.
    later = [push(track, ms * MS, face) for ms in range(1000, 1400, 40)]
    used = [piece for _, piece in later if piece is not None]
    assert [piece.slot for piece in used] == [6]


def test_frames_nobody_looks_at_are_not_decoded(detector: HaarDetector, empty_room: Image, encode: Encode) -> None:
    track = FaceTrack(JPEG, detector)
    room = encode(empty_room, ".jpg")
    push(track, 0, room)
    # Cut off, but its header is right: it would be refused if it were decoded.
    assert push(track, 40 * MS, room[: len(room) // 2]) == (NO_FACE, None)


def test_offsets(detector: HaarDetector) -> None:
    track = FaceTrack(CROPS, detector)
    with pytest.raises(MediaError, match="must not be negative"):
        push(track, -1, grey_crop(1))
    push(track, 1500 * MS, grey_crop(1))
    with pytest.raises(MediaError, match=r"start_offset 1\.2 s runs back: this stream has reached 1\.5 s"):
        push(track, 1200 * MS, grey_crop(1))
    with pytest.raises(MediaError, match=r"lies 61 s ahead of 1\.5 s, at most 60 s are allowed"):
        push(track, 1500 * MS + 61 * NS_PER_S, grey_crop(1))
    assert push(track, 1500 * MS, grey_crop(1))[0] is SKIPPED
    assert track.end_ns == 1500 * MS


@pytest.mark.parametrize("size", [(48, 48), (64, 64), (300, 300), (200, 205)])
def test_ready_crops_of_any_size(
    detector: HaarDetector, portrait: Image, encode: Encode, size: tuple[int, int]
) -> None:
    face = np.asarray(cv2.resize(portrait[66:167, 172:273], size, interpolation=cv2.INTER_AREA), np.uint8)
    track = FaceTrack(VideoSettings(VideoEncoding.JPEG, face_crop=True), detector)
    outcome, piece = push(track, 0, encode(face, ".jpg"))
    assert outcome is USED
    assert piece is not None
    assert piece.crop.shape == (64, 64, 3)
    expected = cv2.resize(portrait[66:167, 172:273], (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(piece.crop.astype(int) - expected).mean() < 12


def test_a_ready_crop_is_square(detector: HaarDetector, portrait: Image, encode: Encode) -> None:
    track = FaceTrack(VideoSettings(VideoEncoding.JPEG, face_crop=True), detector)
    with pytest.raises(MediaError, match="a face crop must be square, got 300 x 200"):
        push(track, 0, encode(np.ascontiguousarray(portrait[:200, :300]), ".jpg"))


def run(track: FaceTrack, frames: Sequence[bytes], step_ms: int = 40) -> list[FacePiece]:
    pushed = [push(track, number * step_ms * MS, frame) for number, frame in enumerate(frames)]
    return [piece for _, piece in pushed if piece is not None]


def test_a_moving_face_fills_every_slot_and_always_the_same(portrait: Image, encode: Encode) -> None:
    frames = moving(portrait, encode, 75)
    first, second = (run(FaceTrack(JPEG, HaarDetector()), frames) for _ in range(2))
    assert [piece.slot for piece in first] == list(range(15))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.crop, other.crop)
    # What comes between the frames of the slots changes nothing.
    sparse = FaceTrack(JPEG, HaarDetector())
    for number, piece in enumerate(first):
        got = push(sparse, number * VIDEO_SLOT_NS, frames[5 * number])[1]
        assert got is not None
        np.testing.assert_array_equal(got.crop, piece.crop)


@pytest.mark.data
@pytest.mark.parametrize("pattern", ["clips/*.mpg", "ravdess/*.mp4"])
def test_faces_of_real_clips_fill_every_slot(
    data_folder: Path, detector: HaarDetector, encode: Encode, pattern: str
) -> None:
    for path in sorted(data_folder.glob(pattern)):
        track, slots, pieces = FaceTrack(JPEG, detector), set(), []
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                offset = int(frame.time * NS_PER_S)
                slots.add(offset // VIDEO_SLOT_NS)
                _, piece = push(track, offset, encode(frame.to_ndarray(format="rgb24"), ".jpg"))
                pieces += [piece] if piece else []
        assert [piece.slot for piece in pieces] == sorted(slots), path.name
        # The detector confirms that each crop is filled by one face.
        faces = [detector.scan(np.pad(piece.crop, ((32, 32), (32, 32), (0, 0)), "edge"), False) for piece in pieces]
        assert sum(len(found) == 1 and found[0].width > 40 for found in faces) >= 0.8 * len(faces), path.name


def test_two_faces_in_a_picture_are_cropped_each(
    detector: HaarDetector, portrait: Image, empty_room: Image, encode: Encode
) -> None:
    both = np.concatenate([portrait[:340, 60:400], portrait[:340, 60:400][:, ::-1] // 2], axis=1)
    frame = encode(np.ascontiguousarray(both), ".jpg")
    left = FaceTrack(VideoSettings(VideoEncoding.JPEG, max_faces=2, face_nearest=(0.2, 0.3)), detector)
    right = FaceTrack(VideoSettings(VideoEncoding.JPEG, max_faces=2, face_nearest=(0.8, 0.3)), detector)
    (mine, other), (darker, _) = left.push(0, frame)[1], right.push(0, frame)[1]
    assert (mine.is_speaker, other.is_speaker) == (True, False)
    assert mine.face_id != other.face_id
    assert mine.crop.mean() > 1.5 * other.crop.mean()
    assert darker.crop.mean() < 0.7 * mine.crop.mean()
    assert mine.box is not None
    assert 0 < mine.box[0] < mine.box[0] + mine.box[2] < 0.5
    alone = FaceTrack(JPEG, detector).push(0, frame)[1]
    assert len(alone) == 1


def test_settings_of_faces_are_checked() -> None:
    with pytest.raises(MediaError, match="max_faces must be 1 to 4, got 5"):
        VideoSettings(VideoEncoding.JPEG, max_faces=5)
    with pytest.raises(MediaError, match="face_nearest must lie in the image"):
        VideoSettings(VideoEncoding.JPEG, face_nearest=(0.5, 1.2))
    with pytest.raises(MediaError, match="one face each"):
        VideoSettings(VideoEncoding.JPEG, face_crop=True, max_faces=2)
