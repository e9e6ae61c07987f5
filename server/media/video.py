"""One session's images: messages in, the crops of the faces of each 200 ms slot out.

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
from server.media.errors import MediaError, RunsBackError, seconds
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
    """One face of a slot."""

    slot: int
    """Number of the slot on the session's absolute 200 ms grid."""
    time_ns: int
    crop: NDArray[np.uint8]
    """[64, 64, 3], RGB."""
    face_id: int = 0
    is_speaker: bool = True
    box: tuple[float, float, float, float] | None = None
    """Left, top, width and height as shares of the image's; None where the client sends crops."""


class FaceTrack:
    """Takes the faces of the earliest frame of every slot that shows the speaker's."""

    def __init__(self, settings: VideoSettings, detector: FaceDetector, max_gap_ns: int = 60 * NS_PER_S) -> None:
        self._settings = settings
        self._tracker = FaceTracker(detector, settings.max_faces, settings.face_nearest)
        self._max_gap_ns = max_gap_ns
        self._end_ns = 0
        self._filled_slot = -1

    @property
    def end_ns(self) -> int:
        """Session time up to which images have been taken in: the offset of the last one; 0 at first."""
        return self._end_ns

    def push(self, start_offset_ns: int, data: bytes) -> tuple[FrameOutcome, list[FacePiece]]:
        """Take in the next frame and return what became of it, with its faces, the speaker's first, where it is USED.

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
        if slot == self._filled_slot:
            self._end_ns = start_offset_ns
            return FrameOutcome.SKIPPED, []
        if self._settings.face_crop:
            faces = [FacePiece(slot, start_offset_ns, self._ready_crop(size, data))]
        else:
            faces = self._find(start_offset_ns, size, data)
        self._end_ns = start_offset_ns
        if not faces:
            return FrameOutcome.NO_FACE, []
        self._filled_slot = slot
        return FrameOutcome.USED, faces

    def _check_position(self, start_offset_ns: int) -> None:
        if start_offset_ns < 0:
            raise MediaError(f"start_offset must not be negative, got {seconds(start_offset_ns)}")
        if start_offset_ns < self._end_ns:
            raise RunsBackError(
                f"start_offset {seconds(start_offset_ns)} runs back: this stream has reached {seconds(self._end_ns)}"
            )
        if start_offset_ns - self._end_ns > self._max_gap_ns:
            raise MediaError(
                f"start_offset {seconds(start_offset_ns)} lies {seconds(start_offset_ns - self._end_ns)} ahead of "
                f"{seconds(self._end_ns)}, at most {seconds(self._max_gap_ns)} are allowed"
            )

    def _ready_crop(self, size: ImageSize, data: bytes) -> Image:
        return resize_face(decode(self._settings, size, data, coarsest_reduction(min(size) / FACE_SIZE)))

    def _find(self, time_ns: int, size: ImageSize, data: bytes) -> list[FacePiece]:
        if not self._tracker.wants(time_ns):
            return []
        reduction = coarsest_reduction((size.width * size.height / FINE_AREA) ** 0.5)
        reduction = min(reduction, self._reduction_of_faces(size))
        picture = decode(self._settings, size, data, reduction)
        seen = self._tracker.find(time_ns, picture)
        if not seen:
            return []
        scale = 1 / picture.shape[1]
        finer = self._reduction_of_faces(size)
        if finer < reduction:
            # A face has just turned out to be small: crop it from more pixels.
            picture = decode(self._settings, size, data, finer)
        rows, columns = picture.shape[:2]
        pieces = []
        for face in seen:
            box = face.box.scaled(scale * columns)
            shares = (box.left / columns, box.top / rows, box.width / columns, box.height / rows)
            crop = crop_square(picture, box)
            pieces.append(FacePiece(time_ns // VIDEO_SLOT_NS, time_ns, crop, face.face_id, face.is_speaker, shares))
        return pieces

    def _reduction_of_faces(self, size: ImageSize) -> int:
        """Return the largest reduction that leaves each crop its full resolution, where the image has it."""
        narrowest = self._tracker.narrowest
        width = max(size) if narrowest is None else narrowest * size.width
        return coarsest_reduction(FACE_SCALE * width / FACE_SIZE)


def _check_square(size: ImageSize) -> None:
    if abs(size.width - size.height) > _SQUARE_TOLERANCE * max(size):
        raise MediaError(f"a face crop must be square, got {size.width} x {size.height}")
