"""What goes into a session, free of any wire format. Offsets are in nanoseconds on the session clock."""

from dataclasses import dataclass
from enum import StrEnum

from server.session.reasons import Reason


class Modality(StrEnum):
    """The three channels, named as in `contract.labels.MODALITIES`."""

    AUDIO = "audio"
    VIDEO = "video"
    TEXT = "text"


@dataclass(frozen=True)
class Word:
    """One word of a span and its own time."""

    start_ns: int
    end_ns: int
    text: str


@dataclass(frozen=True)
class Media:
    """One media message: encoded audio, an encoded image, or UTF-8 text. What follows `data` is of text only."""

    modality: Modality
    sequence: int
    start_ns: int
    data: bytes
    duration_ns: int = 0
    """How long the words last."""
    hypothesis: int | None = None
    """The words replace those of the span before with the same number, unless that one was final."""
    is_final: bool = True
    """The words will not be replaced any more. Always so without a hypothesis."""
    words: tuple[Word, ...] = ()
    """Times of the single words. Without them, the words are spread evenly over the span."""
    has_time: bool = True
    """Without a time, the words are placed where the session has got to."""
    arrived_ns: int = 0
    """Time since the start of the session at which the message came: where words without a time are placed in a session
    that has received no other media."""


@dataclass(frozen=True)
class EndOfModality:
    """No more media of this modality."""

    modality: Modality


@dataclass(frozen=True)
class EndOfUtterance:
    """Words that begin at or after the offset belong to the next utterance."""

    offset_ns: int | None = None
    """None: where the session has got to."""
    arrived_ns: int = 0
    """As of `Media`."""


@dataclass(frozen=True)
class Close:
    """The session is over."""


Item = Media | EndOfModality | EndOfUtterance | Close


class RejectedError(ValueError):
    """A message can't be used; the session goes on. The text says what was wrong and what was expected."""

    def __init__(self, message: str, reason: Reason, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        """Path of the field that was at fault, as the protocol names it: `audio.start_offset`."""
