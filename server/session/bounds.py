"""What a message may say about time: nothing before the session, nothing far ahead of it, nothing beyond its end."""

from contract.timing import NS_PER_S
from server.session.messages import Media, RejectedError
from server.session.reasons import Reason


def seconds(offset_ns: int) -> str:
    """Return a time as it is written in refusals."""
    return f"{offset_ns / NS_PER_S:.3f} s"


class Bounds:
    """The bounds of one session."""

    def __init__(self, max_gap_ns: int, max_duration_ns: int) -> None:
        self._max_gap_ns = max_gap_ns
        self._max_duration_ns = max_duration_ns

    def check_text(self, message: Media) -> None:
        """Check that a message has words, and that they last; raises RejectedError."""
        if not message.data.strip() and not message.words and message.hypothesis is None:
            raise RejectedError("text.text is empty", Reason.TEXT_EMPTY, "text.text")
        limit_ns = self._max_gap_ns
        if not 0 <= message.duration_ns <= limit_ns:
            text = f"text.duration is {seconds(message.duration_ns)}: expected 0 to {seconds(limit_ns)}"
            raise RejectedError(text, Reason.OFFSET_INVALID, "text.duration")
        end_ns = message.start_ns
        for number, word in enumerate(message.words):
            if not end_ns <= word.start_ns <= word.end_ns <= message.start_ns + limit_ns:
                raise RejectedError(
                    f"text.words[{number}] lasts from {seconds(word.start_ns)} to {seconds(word.end_ns)}: expected "
                    f"words in order, from {seconds(end_ns)} on",
                    Reason.OFFSET_INVALID,
                    f"text.words[{number}]",
                )
            end_ns = word.start_ns

    def check_offset(self, offset_ns: int, received_ns: int, name: str) -> None:
        """Check where something lies, given how far the media received so far reach; raises RejectedError."""
        if offset_ns < 0:
            text = f"{name} is {seconds(offset_ns)}: expected an offset from the start of the session"
            raise RejectedError(text, Reason.OFFSET_INVALID, name)
        if offset_ns > self._max_duration_ns:
            raise RejectedError(
                f"{name} is {seconds(offset_ns)}: a session lasts {seconds(self._max_duration_ns)} at most",
                Reason.OFFSET_INVALID,
                name,
            )
        limit_ns = received_ns + self._max_gap_ns
        if offset_ns > limit_ns:
            raise RejectedError(
                f"{name} is {seconds(offset_ns)}: at most {seconds(self._max_gap_ns)} ahead of the media "
                f"received so far ({seconds(received_ns)}) is accepted",
                Reason.OFFSET_TOO_FAR,
                name,
            )
