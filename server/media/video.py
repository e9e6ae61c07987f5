"""One session's images: messages in, one face crop per 200 ms slot out.

Synchronous CPU code, one object per session, fed in the order of the sequence numbers. It knows no windows, no models
and no protocol.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.faces import FACE_SCALE, FACE_SIZE, Image, crop_square, resize_face
from contract.timing import NS_PER_S, VIDEO_SLOT_NS
from server.media.errors import MediaError, seconds
from server.media.faces import FINE_AREA, FaceDetector
from server.media.images import ImageSize, VideoEncoding, VideoSettings, coarsest_reduction, decode, read_size
from server.media.tracking import FaceTracker

__all__ = ["FaceDetector", "FacePiece", "FaceTrack", "FrameOutcome", "VideoEncoding", "VideoSettings"]

_SQUARE_TOLERANCE: Final = 0.05
"""Of ready crops: how much the sides may differ, relative to the longer one."""


class FrameOutcome(StrEnum):
    """What became of a frame that was not rejected."""

    USED = "used"
    SKIPPED = "skipped"
    """Its slot has a face already."""
    NO_FACE = "no_face"
    """No face was found, or none was looked for because there was none a moment ago. The slot stays free."""


@dataclass(frozen=True)
class FacePiece:
    """The face of one slot."""

    slot: int
    """Number of the slot on the session's absolute 200 ms grid."""
    time_ns: int
    crop: NDArray[np.uint8]
    """[64, 64, 3], RGB."""


class FaceTrack:
    """Takes the earliest usable face of every slot from the frames of one session."""

    def __init__(self, settings: VideoSettings, detector: FaceDetector, max_gap_ns: int = 60 * NS_PER_S) -> None:
        self._settings = settings
        self._tracker = FaceTracker(detector)
        self._max_gap_ns = max_gap_ns
        self._end_ns = 0
        self._filled_slot = -1

    @property
    def end_ns(self) -> int:
        """Session time up to which images have been taken in: the offset of the last one; 0 at first."""
        return self._end_ns

    def push(self, start_offset_ns: int, data: bytes) -> tuple[FrameOutcome, FacePiece | None]:
        """Take in the next frame and return what became of it, with its face where it is USED.

        Equal offsets are allowed. Every frame's header is checked; only those that their slot needs are decoded, and
        of a picture without faces only as many as the tracker looks at.

        Raises:
            MediaError: the image is corrupt or of another kind or size than the settings say, lies before what was
                taken in, or too far after it. The track is then as it was: the next frame may fill the slot.
        """
        size = read_size(self._settings, data)
        if self._settings.face_crop:
            _check_square(size)
        self._check_position(start_offset_ns)
        slot = start_offset_ns // VIDEO_SLOT_NS
        outcome, crop = FrameOutcome.SKIPPED, None
        if slot != self._filled_slot:
            crop = self._ready_crop(size, data) if self._settings.face_crop else self._find(start_offset_ns, size, data)
            outcome = FrameOutcome.NO_FACE if crop is None else FrameOutcome.USED
        self._end_ns = start_offset_ns
        if crop is None:
            return outcome, None
        self._filled_slot = slot
        return outcome, FacePiece(slot, start_offset_ns, crop)

    def _check_position(self, start_offset_ns: int) -> None:
        if start_offset_ns < 0:
            raise MediaError(f"start_offset must not be negative, got {seconds(start_offset_ns)}")
        if start_offset_ns < self._end_ns:
            raise MediaError(
                f"start_offset {seconds(start_offset_ns)} runs back: this stream has reached {seconds(self._end_ns)}"
            )
        if start_offset_ns - self._end_ns > self._max_gap_ns:
            raise MediaError(
                f"start_offset {seconds(start_offset_ns)} lies {seconds(start_offset_ns - self._end_ns)} ahead of "
                f"{seconds(self._end_ns)}, at most {seconds(self._max_gap_ns)} are allowed"
            )

    def _ready_crop(self, size: ImageSize, data: bytes) -> Image:
        return resize_face(decode(self._settings, size, data, coarsest_reduction(min(size) / FACE_SIZE)))

    def _find(self, time_ns: int, size: ImageSize, data: bytes) -> Image | None:
        if not self._tracker.wants(time_ns):
            return None
        reduction = coarsest_reduction((size.width * size.height / FINE_AREA) ** 0.5)
        reduction = min(reduction, self._reduction_of_face(size))
        picture = decode(self._settings, size, data, reduction)
        box = self._tracker.find(time_ns, picture)
        if box is None:
            return None
        finer = self._reduction_of_face(size)
        if finer < reduction:
            # The face has just turned out to be small: crop it from more pixels.
            columns = picture.shape[1]
            picture = decode(self._settings, size, data, finer)
            box = box.scaled(picture.shape[1] / columns)
        return crop_square(picture, box)

    def _reduction_of_face(self, size: ImageSize) -> int:
        """Return the largest reduction that leaves the crop its full resolution, where the image has it."""
        box = self._tracker.box
        width = max(size) if box is None else box.width * size.width
        return coarsest_reduction(FACE_SCALE * width / FACE_SIZE)


def _check_square(size: ImageSize) -> None:
    if abs(size.width - size.height) > _SQUARE_TOLERANCE * max(size):
        raise MediaError(f"a face crop must be square, got {size.width} x {size.height}")
