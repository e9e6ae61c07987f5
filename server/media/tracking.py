"""Follows one face from picture to picture. Everything depends on the pictures and their event times alone.

A picture is searched as a whole seldom, since that costs more than all else a frame does: not at all while the face is
found near its last place, but for a look around every two seconds. Every box was confirmed by the detector in its own
picture; none is guessed.
"""

from typing import Final

from contract.faces import Image
from contract.timing import NS_PER_S
from server.media.faces import Box, FaceDetector

LOOK_AROUND_NS: Final = 2 * NS_PER_S
"""While a face is followed, the whole picture is searched this often: another may have come closer."""
SEARCH_NS: Final = 400_000_000
"""Without a face, the whole picture is searched at most this often, for large and for small faces in turn."""
IDLE_SEARCH_NS: Final = 800_000_000
IDLE_AFTER: Final = 4
"""After so many searches in vain, they become rarer still."""
KEEP_NS: Final = 2 * NS_PER_S
"""How long a lost face is still looked for near its last place (a turned head comes back there)."""

_SAME_FACE: Final = 0.3
"""Overlap (IoU) from which two boxes are the same face."""
_MUCH_LARGER: Final = 1.5
_NEW_WEIGHT: Final = 0.6
"""Weight of the newest box against the smoothed one."""


class FaceTracker:
    """The face of one session: the largest at first, then the same one until it is lost or another is much larger."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._box: Box | None = None
        """In pictures of width 1, so that pictures of any resolution can follow each other."""
        self._shape = 0.0
        self._seen_ns = 0
        self._searched_ns: int | None = None
        self._in_vain = 0

    @property
    def box(self) -> Box | None:
        """Where the face was last, in units of the picture's width; None when none is followed."""
        return self._box

    def wants(self, time_ns: int) -> bool:
        """Say whether a picture of that time would be looked at: if not, it need not even be decoded."""
        return self._box is not None or self._search_due(time_ns)

    def find(self, time_ns: int, picture: Image) -> Box | None:
        """Return the smoothed box of the face in a picture, uint8 [H, W, 3] RGB, in its pixels; None without a face.

        Times must not decrease. A change of the picture's proportions (a turned phone) begins anew.
        """
        rows, columns = picture.shape[:2]
        if abs(rows / columns - self._shape) > 0.02:
            self._box, self._shape = None, rows / columns
        last = self._box.scaled(columns) if self._box else None
        found = self._detector.near(picture, last) if last else None
        if self._search_due(time_ns) if found is None else self._look_around_due(time_ns):
            found = self._search(time_ns, picture, found)
        if found is None:
            if time_ns - self._seen_ns > KEEP_NS:
                self._box = None
            return None
        box = _smooth(last, found)
        self._seen_ns = time_ns
        self._box = box.scaled(1 / columns)
        return box

    def _search(self, time_ns: int, picture: Image, followed: Box | None) -> Box | None:
        is_first, self._searched_ns = self._searched_ns is None, time_ns
        faces = self._detector.scan(picture, fine=followed is None and self._in_vain % 2 == 1)
        if is_first and not faces:
            faces = self._detector.scan(picture, fine=True)
        largest = max(faces, key=lambda box: (box.width, box), default=None)
        if followed is not None and (largest is None or largest.width < _MUCH_LARGER * followed.width):
            largest = followed
        self._in_vain = self._in_vain + 1 if largest is None else 0
        return largest

    def _search_due(self, time_ns: int) -> bool:
        pause_ns = SEARCH_NS if self._in_vain < IDLE_AFTER else IDLE_SEARCH_NS
        return self._searched_ns is None or time_ns - self._searched_ns >= pause_ns

    def _look_around_due(self, time_ns: int) -> bool:
        return self._searched_ns is None or time_ns - self._searched_ns >= LOOK_AROUND_NS


def _smooth(last: Box | None, found: Box) -> Box:
    """Steady the box against the detector's trembling; a face that has moved on is taken as it is."""
    if last is None or last.overlap(found) < _SAME_FACE:
        return found
    return Box(*(old + _NEW_WEIGHT * (new - old) for old, new in zip(last, found, strict=True)))
