"""What can go wrong with a session or a call, free of any wire format."""

from dataclasses import dataclass

from server.session.reasons import Reason


@dataclass(frozen=True)
class Failure:
    """Why a message was refused, or why a session or a call ended."""

    reason: Reason
    message: str
    """What happened and what was expected, in one sentence."""
    field: str = ""
    """Path of the field that was at fault."""
    retry_s: float | None = None
    """After how long another try makes sense; None where it does not."""


class RefusedError(Exception):
    """A call is refused, or ends, for a reason that its client is told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def refused(reason: Reason, message: str, field: str = "", retry_s: float | None = None) -> RefusedError:
    """Return the exception for a failure."""
    return RefusedError(Failure(reason, message, field, retry_s))
