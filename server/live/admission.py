"""Limits by identity: how much of the server one caller may take, so that nobody can lock the others out. No I/O."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.access.identity import Identity
from server.live.failures import refused
from server.session.reasons import Reason
from server.settings import IdentityLimits

RETRY_S = 1.0
"""When a caller that was refused for want of room may try again."""


class Admission:
    """Counts what each identity has open, and keeps nothing of those that have nothing open and are not in a hurry.

    Identities that many share (an open server, one token for all) have the server's limits alone.
    """

    def __init__(self, limits: IdentityLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._sessions: Counter[str] = Counter()
        self._clips: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        """By name: when the allowance of new sessions is full again (generic cell rate algorithm, ITU-T I.371)."""

    @contextmanager
    def session(self, identity: Identity) -> Iterator[None]:
        """Admit a call that may become a session, before anything of it is read; raises RefusedError."""
        if identity.is_shared:
            yield
            return
        self._check_rate(identity.name)
        message = f"this identity has {self._limits.max_sessions} sessions open, which is its limit"
        with _counted(self._sessions, identity.name, self._limits.max_sessions, message):
            yield

    @contextmanager
    def clip(self, identity: Identity) -> Iterator[None]:
        """Admit a media file; raises RefusedError."""
        if identity.is_shared:
            yield
            return
        message = f"this identity has {self._limits.max_clips} media files open, which is its limit"
        with _counted(self._clips, identity.name, self._limits.max_clips, message):
            yield

    def _check_rate(self, name: str) -> None:
        now, period_s = self._clock(), 1 / self._limits.sessions_per_s
        self._due = {one: due for one, due in self._due.items() if due > now}
        due = max(now, self._due.get(name, now)) + period_s
        if (wait_s := due - now - self._limits.session_burst * period_s) > 1e-9:
            message = f"{self._limits.sessions_per_s:g} new sessions a second are allowed to one identity"
            raise refused(Reason.LIMIT_REACHED, message, "identity.sessions_per_s", wait_s)
        self._due[name] = due


@contextmanager
def _counted(counts: Counter[str], name: str, limit: int, message: str) -> Iterator[None]:
    if counts[name] >= limit:
        raise refused(Reason.LIMIT_REACHED, message, retry_s=RETRY_S)
    counts[name] += 1
    try:
        yield
    finally:
        counts[name] -= 1
        if not counts[name]:
            del counts[name]
