"""Exit codes of `python -m client`, and the text of them that `--help` shows."""

from enum import IntEnum

from client.errors import MediaError, MoodstreamError, ServerUnreachableError, StreamEndedError


class Exit(IntEnum):
    """What a run came to."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    ENDED_EARLY = 4
    INTERRUPTED = 130


HELP = """Exit codes:

- 0: done
- 1: the server refused the call or failed in it; with --strict also: media was rejected, late or dropped
- 2: wrong usage, or a file can't be read
- 3: no server answers at the address
- 4: the stream ended before the clip was over
- 130: interrupted
"""


def exit_of(error: Exception) -> Exit:
    """Return the exit code of an exception of this package; raises TypeError for any other."""
    match error:
        case MediaError():
            return Exit.USAGE
        case ServerUnreachableError():
            return Exit.UNREACHABLE
        case StreamEndedError():
            return Exit.ENDED_EARLY
        case MoodstreamError():
            return Exit.REFUSED
    raise TypeError(f"no exit code for {type(error).__name__}")
