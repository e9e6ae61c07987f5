"""A session that may outlive its connection: who is connected, what was received, and what the client may have missed.

It knows neither what connects nor how responses are written.
"""

import asyncio
import secrets
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from contract.timing import NS_PER_S
from server.live.events import Closed, Event
from server.live.failures import Failure, refused
from server.live.runner import SessionRunner
from server.session.reasons import Reason
from server.settings import SessionLimits

Response = TypeVar("Response")


class ResponseLog(Generic[Response]):
    """The last responses of a session by their number; older ones are forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: deque[Response] = deque()
        self._end = 0

    def append(self, response: Response) -> None:
        """Give a response the next number."""
        self._end += 1
        self._kept.append(response)
        if len(self._kept) > self._limit:
            self._kept.popleft()

    def forget(self, received: int) -> None:
        """Forget the first `received` responses: the client has them."""
        for _ in range(min(len(self._kept), received - (self._end - len(self._kept)))):
            self._kept.popleft()

    def since(self, received: int) -> list[Response]:
        """Return all responses but the first `received`; raises RefusedError when they are not there."""
        first = self._end - len(self._kept)
        if not first <= received <= self._end:
            message = f"responses_received is {received}: the responses from {first} to {self._end} are kept"
            raise refused(Reason.RESUME_GAP, message, "resume.responses_received")
        return list(self._kept)[received - first :]


class LiveSession(Generic[Response]):
    """One session and its connection; of several, the newest has it."""

    def __init__(self, runner: SessionRunner, limits: SessionLimits, is_resumable: bool) -> None:
        self.id = uuid.uuid4().hex
        self.resume_token = secrets.token_urlsafe(24) if is_resumable else ""
        self.runner = runner
        self.limits = limits
        self.render: Callable[[Event], Response]
        """Writes an event as a response: set by whoever opens the session."""
        self.log: ResponseLog[Response] = ResponseLog(limits.max_kept_responses if is_resumable else 0)
        self.requests_received = 0
        self.started_at = asyncio.get_running_loop().time()
        self.ends_at = self.started_at + limits.max_duration_ns / NS_PER_S
        self.is_over = False
        """`Closed` has gone out."""
        self.failure: Failure | None = None
        """What it ended with, if not well."""
        self.connection: Connection[Response] | None = None
        """None while nobody is connected."""

    @property
    def is_resumable(self) -> bool:
        """Whether the session outlives a connection."""
        return bool(self.resume_token)

    def connect(self) -> "Connection[Response]":
        """Take the session over: the connection that had it takes nothing in any more, and ends."""
        self.connection = Connection(self)
        self.runner.wake()
        return self.connection


class Connection(Generic[Response]):
    """One stream of messages and responses, as long as it has the session."""

    def __init__(self, session: LiveSession[Response]) -> None:
        self.session = session

    def check(self) -> None:
        """Raise RefusedError when another connection has taken the session over."""
        if self.session.connection is not self:
            raise refused(Reason.SESSION_RESUMED, "another connection has resumed the session")

    async def responses(self, received: int) -> AsyncGenerator[Response, None]:
        """Yield the responses from number `received` on, old ones and new ones, until the session has closed.

        Raises:
            RefusedError: those responses are not kept, or another connection has taken the session over.
        """
        session = self.session
        for response in session.log.since(received):
            yield response
        while not session.is_over:
            self.check()
            event = session.runner.take_event()
            if event is None:
                await session.runner.changed()
                continue
            if isinstance(event, Closed):
                session.is_over, session.failure = True, event.failure
            response = session.render(event)
            session.log.append(response)
            yield response
