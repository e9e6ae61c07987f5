"""What a session gives out: pieces to encode once, and results to fuse from them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract.labels import sentiment_of
from server.session.messages import Modality


class Status(StrEnum):
    """What became of a modality in a result: of a window's newest interval, and DROPPED of all of it."""

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

    def release(self) -> None:
        """Forget the samples: the hop has been encoded, and may be referred to for long."""
        self.pcm = np.zeros(0, np.float32)


class FaceBox(NamedTuple):
    """A box in an image, as shares of its width and height; may reach over the border."""

    left: float
    top: float
    width: float
    height: float


@dataclass(eq=False)
class Face:
    """One face in a video slot: one item for `video_encoder`."""

    slot: int
    time_ns: int
    crop: NDArray[np.uint8]
    """[FACE_SIZE, FACE_SIZE, 3], RGB."""
    face_id: int = 0
    """The same as long as the face can be followed."""
    is_speaker: bool = True
    box: FaceBox | None = None
    """None where the client sends crops."""

    def release(self) -> None:
        """Forget the pixels: the face has been encoded, and may be referred to for long."""
        self.crop = np.zeros(0, np.uint8)


@dataclass(eq=False)
class Span:
    """Words as one message brought them."""

    start_ns: int
    end_ns: int
    text: str
    words: tuple[tuple[int, str], ...]
    """Each word with the time at which it ends."""
    hypothesis: int | None = None
    is_final: bool = True
    is_timed: bool = True
    uses: int = 0
    """Texts of final results that hold words of this span and were not given up."""
    is_dropped: bool = False
    """The texts of all final results that hold words of it were given up."""


@dataclass(eq=False)
class Words:
    """The text of a result: one item for `text_encoder`."""

    text: str = field(repr=False)
    spans: set[Span] = field(repr=False, default_factory=set)
    """Spans whose words a final result took from here."""
    is_dropped: bool = False
    """It could not be encoded."""

    def release(self) -> None:
        """Nothing to forget: a text is small."""


Piece = AudioHop | Face | Words


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A result that is due, with the pieces it is fused from, oldest first."""

    index: int
    revision: int
    is_final: bool
    start_ns: int
    end_ns: int
    hops: tuple[AudioHop | None, ...]
    """Consecutive hops up to the one that holds the last sample before the end; the first may begin before the start.
    None where there was nothing."""
    faces: tuple[Face | None, ...]
    """The speaker's, in consecutive video slots up to the one that holds the last frame before the end."""
    words: Words | None
    statuses: dict[Modality, Status]
    others: tuple[Face, ...] = ()
    """Faces of those who do not speak."""
    acknowledged: dict[Modality, int] = field(default_factory=dict)
    """Highest sequence up to which every message has been taken in, of the modalities that have one."""
    same_as_before: bool = False
    """This revision has the pieces and statuses of the one before: its scores hold."""

    def pieces(self) -> list[Piece]:
        """Return all pieces that the result needs."""
        return [piece for piece in (*self.hops, *self.faces, *self.others, self.words) if piece is not None]

    def repeats(self, before: "Plan") -> bool:
        """Tell whether this plan has the extent, the pieces and the statuses of another."""
        return self._content() == before._content()

    def _content(self) -> tuple[object, ...]:
        extent = (self.start_ns, self.end_ns)
        return (*extent, self.hops, self.faces, self.others, self.words, self.statuses)


@dataclass(frozen=True, kw_only=True)
class WindowPlan(Plan):
    """The last four seconds before its end."""

    has_life: bool = True
    """There is a voice, a face or a word in it: it counts for the session."""


@dataclass(frozen=True, kw_only=True)
class UtterancePlan(Plan):
    """One utterance, however short or long."""


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
    replaced: int = 0


@dataclass(frozen=True)
class Fused:
    """Scores of one result."""

    polarity: NDArray[np.float32] = field(repr=False)
    emotion: NDArray[np.float32] = field(repr=False)
    contribution: NDArray[np.float32] = field(repr=False)

    @property
    def sentiment(self) -> float:
        """Sentiment in [-1, 1] that the polarities stand for."""
        return sentiment_of(self.polarity)

    @property
    def confidence(self) -> float:
        """Probability of the most probable polarity."""
        return float(self.polarity.max())
