"""What the media layer says about data that it cannot use."""

from contract.timing import NS_PER_S
from server.session.reasons import Reason


class MediaError(ValueError):
    """A message's media can't be used: says what was wrong, where, and what was expected. The stream can go on."""

    reason = Reason.MEDIA_UNDECODABLE
    field = "data"
    """Of the message."""


class RunsBackError(MediaError):
    """The media lies before what was taken in."""

    reason = Reason.OFFSET_RUNS_BACK
    field = "start_offset"


def seconds(offset_ns: int) -> str:
    """Write a session offset for a person: `1.2 s`, to the microsecond."""
    return f"{round(offset_ns / NS_PER_S, 6):g} s"
