"""What can go wrong with Triton, and what of that a client may read."""

from typing import Final

_PRIVATE: Final = ("unix:", "moodstream-", "/dev/shm")  # noqa: S108 (words of messages, no path is opened)
"""Sockets, private folders and shared memory have these in their names."""


class TritonError(Exception):
    """The embedded Triton failed. The message is one sentence for the log or the terminal."""


class TritonUnavailableError(TritonError):
    """The embedded Triton can't run on this machine; the message says why in one line."""


class TritonStartError(TritonError):
    """Triton was started and did not get ready; the message carries what its log said."""


def is_private(message: str) -> bool:
    """Tell whether Triton's message names a socket, a private folder or shared memory: it is for the log only."""
    return any(word in message for word in _PRIVATE)
