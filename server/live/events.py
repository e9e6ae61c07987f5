"""What a running session tells its transport, free of any wire format."""

from dataclasses import dataclass
from enum import StrEnum

from server.live.failures import Failure
from server.session.fusion_input import FaceView, ModalityView
from server.session.messages import Modality
from server.session.pieces import Fused, Totals, UtterancePlan, WindowPlan
from server.session.summary import SessionScores


@dataclass(frozen=True)
class Timings:
    """Stages of one result on the server's clock, in nanoseconds, each counted from the end of the one before."""

    decode_ns: int
    encode_ns: int
    fuse_ns: int


@dataclass(frozen=True)
class Result:
    """Scores of one window or utterance; `fused` is None when nothing in it carried data."""

    plan: WindowPlan | UtterancePlan
    views: dict[Modality, ModalityView]
    faces: tuple[FaceView, ...]
    fused: Fused | None
    timings: Timings


@dataclass(frozen=True)
class Rejected:
    """One message could not be used."""

    modality: Modality | None
    sequence: int | None
    failure: Failure


class NoticeType(StrEnum):
    """Kinds of notices."""

    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_RECOVERED = "model_recovered"
    DRAINING = "draining"


@dataclass(frozen=True)
class Notice:
    """Something that the client should know of while the session goes on."""

    type: NoticeType
    message: str
    model: str = ""


class CloseReason(StrEnum):
    """Why a session ended."""

    CLIENT = "client"
    IDLE_TIMEOUT = "idle_timeout"
    MAX_DURATION = "max_duration"
    SERVER_SHUTDOWN = "server_shutdown"
    ERROR = "error"


@dataclass(frozen=True)
class Closed:
    """The last event of a session."""

    reason: CloseReason
    totals: dict[Modality, Totals]
    results: int
    end_ns: int
    summary: SessionScores | None
    failure: Failure | None = None
    """Of ERROR: what the session failed of."""


Event = Result | Rejected | Notice | Closed
