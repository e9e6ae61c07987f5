"""What a session gives out: pieces to encode once, and windows to fuse from them."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from server.session.messages import Modality


class Status(StrEnum):
    """What a window says of a modality: of its newest hop, and DROPPED of all of it."""

    USED = "used"
    MISSING = "missing"
    LATE = "late"
    DROPPED = "dropped"


@dataclass(eq=False)
class AudioHop:
    """Half a second of audio with its left context: one item for `audio_encoder`."""

    index: int
    pcm: NDArray[np.float32]
    """[CHUNK_SAMPLES]: one second before the hop (zeros where there was nothing), then the hop."""
    mask: NDArray[np.float32]
    """[AUDIO_SLOTS_PER_HOP], 1 where the slot of 100 ms holds a sample that was received."""
    messages: int
    """How many messages ended in this hop, for the totals."""


@dataclass(eq=False)
class Face:
    """The face of one video slot: one item for `video_encoder`."""

    slot: int
    time_ns: int
    crop: NDArray[np.uint8]
    """[FACE_SIZE, FACE_SIZE, 3], RGB."""


@dataclass(eq=False)
class Words:
    """The text of an utterance up to some window's end: one item for `text_encoder`."""

    text: str


Piece = AudioHop | Face | Words


@dataclass(frozen=True)
class WindowPlan:
    """A window that is due, with the pieces it is fused from (right-aligned: the newest is last)."""

    index: int
    revision: int
    is_final: bool
    start_ns: int
    end_ns: int
    hops: tuple[AudioHop | None, ...]
    """[HOPS_PER_WINDOW]"""
    faces: tuple[Face | None, ...]
    """[VIDEO_SLOTS]"""
    words: Words | None
    statuses: dict[Modality, Status]
    acknowledged: dict[Modality, int]
    """Highest sequence up to which every message has been taken in, of the modalities that have one."""
    same_as_before: bool = False
    """This revision has the pieces and statuses of the one before: its scores hold."""


@dataclass(frozen=True)
class UtterancePlan:
    """An utterance is over and all its windows are final."""

    index: int
    start_ns: int
    end_ns: int


Output = Piece | WindowPlan | UtterancePlan


@dataclass
class Totals:
    """Fate of one modality's messages. `received` is the sum of the others once the session has closed."""

    received: int = 0
    used: int = 0
    skipped: int = 0
    late: int = 0
    dropped: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Fused:
    """Scores of one window."""

    sentiment: float
    polarity: NDArray[np.float32] = field(repr=False)
    emotion: NDArray[np.float32] = field(repr=False)
    contribution: NDArray[np.float32] = field(repr=False)

    @property
    def confidence(self) -> float:
        """Probability of the most probable polarity."""
        return float(self.polarity.max())
