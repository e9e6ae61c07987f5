"""Puts the messages of one modality back into the order of their sequence numbers, within the lateness."""

from collections.abc import Iterator

from server.session.messages import Media, RejectedError
from server.session.reasons import Reason

MAX_AHEAD = 1_000
"""How far a sequence may run ahead of the next expected one."""
_MAX_GIVEN_UP = 4_096
"""How many given-up places are remembered; older ones count as duplicates when they come after all."""


class ReorderBuffer:
    """Holds messages that came before their predecessors.

    A hole is given up when the session has moved `lateness_ns` past the first message behind it, in event time: what
    was missing counts as late when it comes after that.
    """

    def __init__(self, lateness_ns: int) -> None:
        self._lateness_ns = lateness_ns
        self._next = 0
        self._held: dict[int, Media | None] = {}
        self._given_up: set[int] = set()

    @property
    def acknowledged(self) -> int | None:
        """Highest sequence up to which everything came or was given up; None before the first."""
        return self._next - 1 if self._next else None

    def knows(self, sequence: int) -> bool:
        """Whether this sequence was taken in before, so that another message with it is a duplicate."""
        return sequence in self._held or (sequence < self._next and sequence not in self._given_up)

    def is_late(self, sequence: int) -> bool:
        """Whether the place of this sequence has been given up."""
        return sequence in self._given_up

    def mark_late(self, sequence: int) -> None:
        """Note that a message came whose place had been given up, so that its repetition is a duplicate."""
        self._given_up.discard(sequence)

    def push(self, message: Media) -> None:
        """Take in a message that is neither known nor late.

        Raises:
            RejectedError: the sequence lies more than `MAX_AHEAD` ahead.
        """
        self.check(message.sequence)
        self._held[message.sequence] = message

    def check(self, sequence: int) -> None:
        """Raise RejectedError when the sequence lies too far ahead."""
        if sequence > self._next + MAX_AHEAD:
            raise RejectedError(
                f"sequence {sequence} is more than {MAX_AHEAD} ahead of the next expected one, {self._next}",
                Reason.SEQUENCE_TOO_FAR,
                "sequence",
            )

    def pass_over(self, sequence: int) -> None:
        """Note that this sequence was received and is of no use: nothing waits for it.

        A good message with the same sequence that is held already stays.
        """
        if self._next <= sequence <= self._next + MAX_AHEAD:
            self._held.setdefault(sequence, None)

    def release(self, frontier_ns: int) -> Iterator[Media]:
        """Yield what is in order now; `frontier_ns` is how far the session has got in event time."""
        while self._held:
            if self._next not in self._held:
                first = min((m for m in self._held.values() if m is not None), key=lambda m: m.sequence, default=None)
                if first is None or frontier_ns < first.start_ns + self._lateness_ns:
                    return
                self._give_up_until(min(self._held))
            message = self._held.pop(self._next)
            self._next += 1
            if message is not None:
                yield message

    def flush(self) -> Iterator[Media]:
        """Yield all that is held, in order: nothing more will come."""
        for sequence in sorted(self._held):
            self._give_up_until(sequence)
            message = self._held.pop(sequence)
            self._next = sequence + 1
            if message is not None:
                yield message

    def _give_up_until(self, sequence: int) -> None:
        self._given_up.update(range(self._next, sequence))
        self._next = sequence
        while len(self._given_up) > _MAX_GIVEN_UP:
            self._given_up.remove(min(self._given_up))
