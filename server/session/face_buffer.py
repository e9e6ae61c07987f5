"""The faces of one session by their video slots."""

from collections import Counter
from collections.abc import Sequence

from contract.timing import VIDEO_SLOT_NS
from server.session.pieces import Face
from server.session.retention import stride_of

_KEPT_SLOTS = 160
"""Of an utterance, beside those that windows need: half a minute; of longer ones every second slot stays, and so on."""


class FaceBuffer:
    """Faces that results may still look at."""

    def __init__(self) -> None:
        self._slots: dict[int, tuple[Face, ...]] = {}

    def add(self, faces: Sequence[Face]) -> None:
        """Take in the faces of one slot."""
        self._slots[faces[0].slot] = tuple(faces)

    def within(self, start_ns: int, end_ns: int) -> list[Face]:
        """Return all faces of a stretch, oldest first."""
        slots = range(start_ns // VIDEO_SLOT_NS, -(-end_ns // VIDEO_SLOT_NS))
        seen = [face for slot in slots for face in self._slots.get(slot, ())]
        return [face for face in seen if start_ns <= face.time_ns < end_ns]

    def forget(self, utterance_slot: int, window_slot: int) -> None:
        """Forget what lies before both, and thin out what only a long utterance needs."""
        stride = stride_of(window_slot - utterance_slot, _KEPT_SLOTS)
        for slot in list(self._slots):
            if slot < window_slot and (slot < utterance_slot or slot % stride):
                del self._slots[slot]


def newest_speaker(faces: Sequence[Face]) -> int | None:
    """Return the number of the face that spoke last."""
    return next((face.face_id for face in reversed(faces) if face.is_speaker), None)


def main_speaker(faces: Sequence[Face]) -> int | None:
    """Return the number of the face that spoke most."""
    spoke = Counter(face.face_id for face in faces if face.is_speaker)
    return spoke.most_common(1)[0][0] if spoke else None


def by_slot(faces: Sequence[Face], slots: range, face_id: int | None) -> tuple[Face | None, ...]:
    """Return one face's faces in consecutive slots."""
    own = {face.slot: face for face in faces if face.face_id == face_id}
    return tuple(own.get(slot) for slot in slots)
