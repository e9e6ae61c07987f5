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
class Media:
    """One media message: encoded audio, an encoded image, or UTF-8 text."""

    modality: Modality
    sequence: int
    start_ns: int
    data: bytes
    duration_ns: int = 0
    """Of text only: how long the words last."""


@dataclass(frozen=True)
class EndOfModality:
    """No more media of this modality."""

    modality: Modality


@dataclass(frozen=True)
class EndOfUtterance:
    """Words that begin at or after the offset belong to the next utterance."""

    offset_ns: int


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
