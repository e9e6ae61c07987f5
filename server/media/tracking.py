"""Follows the faces of one session from picture to picture. Everything depends on the pictures and their times alone.

A picture is searched as a whole seldom, since that costs more than all else a frame does: not at all while the
speaker's face is found near its last place, but for a look around every two seconds. Every box was confirmed by the
detector in its own picture; none is guessed.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
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
REMEMBER_NS: Final = 10 * NS_PER_S
"""How long a face that comes back at its place has its old number."""

_SAME_FACE: Final = 0.3
"""Overlap (IoU) from which two boxes are the same face."""
_MUCH_LARGER: Final = 1.5
"""How much larger than the speaker's, or nearer to the chosen place, another face must be to take its role."""
_NEW_WEIGHT: Final = 0.6
"""Weight of the newest box against the smoothed one."""

Place = tuple[float, float]
"""A point of the picture, as shares of its width and height."""


@dataclass(frozen=True)
class SeenFace:
    """A face in a picture."""

    face_id: int
    box: Box
    """In pixels of the picture."""
    is_speaker: bool


@dataclass
class _Track:
    face_id: int
    box: Box
    """Where the face was last, in pictures of width 1, so that pictures of any resolution can follow each other."""
    seen_ns: int


class FaceTracker:
    """The faces of one session, each with a number of its own, and which of them is the speaker's.

    That is the largest face, or the one nearest to a place that the client chose; then the same one until it is lost or
    another is much larger (or nearer). Who really speaks is not looked for: at five pictures a second lips tell little.
    """

    def __init__(self, detector: FaceDetector, max_faces: int = 1, nearest: Place | None = None) -> None:
        """Follow up to `max_faces` faces at a time; `nearest` is the place where the speaker's is expected."""
        self._detector = detector
        self._max_faces = max_faces
        self._nearest = nearest
        self._tracks: list[_Track] = []
        self._gone: list[_Track] = []
        self._speaker: int | None = None
        self._next_id = 0
        self._shape = 0.0
        self._searched_ns: int | None = None
        self._in_vain = 0

    @property
    def narrowest(self) -> float | None:
        """Width of the smallest face that is followed, as a share of the picture's; None when none is."""
        return min((track.box.width for track in self._tracks), default=None)

    def wants(self, time_ns: int) -> bool:
        """Say whether a picture of that time would be looked at: if not, it need not even be decoded."""
        return bool(self._tracks) or self._search_due(time_ns)

    def find(self, time_ns: int, picture: Image) -> list[SeenFace]:
        """Return the faces in a picture, uint8 [H, W, 3] RGB, with smoothed boxes, the speaker's first.

        Empty while the speaker's face can't be seen. Times must not decrease. A change of the picture's proportions (a
        turned phone) begins anew.
        """
        rows, columns = picture.shape[:2]
        if abs(rows / columns - self._shape) > 0.02:
            self._tracks, self._gone, self._shape = [], [], rows / columns
        found = self._near(picture)
        sees_speaker = self._speaker in found
        if self._look_around_due(time_ns) if sees_speaker else self._search_due(time_ns):
            self._search(time_ns, picture, found)
        for track in self._tracks:
            if track.face_id in found:
                track.box = _smooth(track.box, found[track.face_id])
                track.seen_ns = time_ns
        self._forget(time_ns)
        if self._speaker not in found:
            return []
        seen = [
            SeenFace(track.face_id, track.box.scaled(columns), track.face_id == self._speaker)
            for track in self._tracks
            if track.face_id in found
        ]
        return sorted(seen, key=lambda face: not face.is_speaker)

    def _near(self, picture: Image) -> dict[int, Box]:
        """Look for each face near its last place; of two that are found at the same place the older one stays."""
        columns = picture.shape[1]
        found: dict[int, Box] = {}
        for track in self._tracks:
            box = self._detector.near(picture, track.box.scaled(columns))
            if box is not None and not _overlaps(box.scaled(1 / columns), found.values()):
                found[track.face_id] = box.scaled(1 / columns)
        return found

    def _search(self, time_ns: int, picture: Image, found: dict[int, Box]) -> None:
        """Search the whole picture, add new faces to `found`, and choose whom to follow and who speaks."""
        is_first, self._searched_ns = self._searched_ns is None, time_ns
        boxes = self._detector.scan(picture, fine=not found and self._in_vain % 2 == 1)
        if is_first and not boxes:
            boxes = self._detector.scan(picture, fine=True)
        for box in sorted((box.scaled(1 / picture.shape[1]) for box in boxes), key=self._score, reverse=True):
            if not _overlaps(box, found.values()):
                found[self._track_at(box, time_ns)] = box
        self._in_vain = 0 if found else self._in_vain + 1
        if not found:
            return
        ranked = sorted(found, key=lambda face_id: self._score(found[face_id], face_id), reverse=True)
        self._speaker = ranked[0]
        for face_id in ranked[self._max_faces :]:
            del found[face_id]
        lost = [track for track in self._tracks if track.face_id not in ranked]
        followed = [track for track in self._tracks if track.face_id in found]
        self._tracks = [*followed, *lost][: self._max_faces]

    def _score(self, box: Box, face_id: int | None = None) -> float:
        """Return how well a face fits the speaker: its width, or how near it is to the chosen place."""
        bonus = _MUCH_LARGER if face_id is not None and face_id == self._speaker else 1.0
        if self._nearest is None:
            return box.width * bonus
        (x, y), (near_x, near_y) = box.centre, self._nearest
        return -math.hypot(x - near_x, y - near_y * self._shape) / bonus

    def _track_at(self, box: Box, time_ns: int) -> int:
        """Return the number of the face that was followed at a place, or of a new one."""
        for track in (*self._tracks, *self._gone):
            if track.box.overlap(box) >= _SAME_FACE:
                break
        else:
            track = _Track(self._next_id, box, time_ns)
            self._next_id += 1
        if track not in self._tracks:
            self._tracks.append(track)
        self._gone = [one for one in self._gone if one is not track]
        return track.face_id

    def _forget(self, time_ns: int) -> None:
        """Give up faces that have been lost for long; who is left may be the speaker."""
        lost = [track for track in self._tracks if time_ns - track.seen_ns > KEEP_NS]
        self._tracks = [track for track in self._tracks if track not in lost]
        self._gone = [track for track in (*self._gone, *lost) if time_ns - track.seen_ns <= REMEMBER_NS]
        if self._tracks and all(track.face_id != self._speaker for track in self._tracks):
            self._speaker = max(self._tracks, key=lambda track: self._score(track.box)).face_id

    def _search_due(self, time_ns: int) -> bool:
        pause_ns = SEARCH_NS if self._in_vain < IDLE_AFTER else IDLE_SEARCH_NS
        return self._searched_ns is None or time_ns - self._searched_ns >= pause_ns

    def _look_around_due(self, time_ns: int) -> bool:
        return self._searched_ns is None or time_ns - self._searched_ns >= LOOK_AROUND_NS


def _overlaps(box: Box, others: Iterable[Box]) -> bool:
    return any(box.overlap(other) >= _SAME_FACE for other in others)


def _smooth(last: Box, found: Box) -> Box:
    """Steady the box against the detector's trembling; a face that has moved on is taken as it is."""
    if last.overlap(found) < _SAME_FACE:
        return found
    return Box(*(old + _NEW_WEIGHT * (new - old) for old, new in zip(last, found, strict=True)))
