"""What all calls share: the engine, the batchers, the decoders, and the admission of sessions."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from contract.timing import NS_PER_S
from server.inference.encoders import Encoders
from server.inference.engine import Engine, LoadedModel
from server.live.admission import RETRY_S, Admission
from server.live.events import CloseReason, Notice, NoticeType
from server.live.failures import refused
from server.live.runner import SessionRunner
from server.live.scoring import Patience
from server.live.session import Connection, LiveSession
from server.media.clip_decoders import ClipDecoders
from server.media.faces import FaceDetector
from server.media.pump import MediaPump
from server.media.session_media import MediaSettings, SessionMedia
from server.media.voice import VoiceDetector
from server.session.core import SessionCore, SessionSettings
from server.session.reasons import Reason
from server.settings import SessionLimits

DRAIN_S = 5.0
"""How long results may take when the server shuts down."""


@dataclass
class Front:
    """Shared state of a serving process. All of it lives in one event loop."""

    engine: Engine
    engine_reason: str
    models: list[LoadedModel]
    encoders: Encoders
    pump: MediaPump
    clips: ClipDecoders
    detector: FaceDetector
    limits: SessionLimits
    admission: Admission
    voice: VoiceDetector | None = None
    """None where its package is not installed: then loudness tells where there is a voice."""
    sessions: dict[str, LiveSession[Any]] = field(default_factory=dict)
    """Sessions that run, by their id: connected ones, and those that wait for their client to come back."""
    _kept: dict[str, LiveSession[Any]] = field(default_factory=dict)
    """Resumable sessions without a connection, by their token, in the order in which they lost it."""
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _draining: bool = False
    _files: int = 0

    @asynccontextmanager
    async def session(
        self,
        settings: SessionSettings,
        media: MediaSettings,
        patience: Patience,
        smoothing_ns: int = 0,
        is_resumable: bool = False,
    ) -> AsyncIterator[Connection[Any]]:
        """Admit a session and end it with the block, or keep it for its client; raises RefusedError."""
        self._check_room()
        voice = None if settings.endpointing_ns is None else self.voice
        decoders = SessionMedia(media, self.detector, self.limits.max_chunk_ns, self.limits.max_gap_ns, voice)
        core = SessionCore(settings)
        runner = SessionRunner(core, decoders, self.pump, self.encoders, patience, smoothing_ns)
        session: LiveSession[Any] = LiveSession(runner, self.limits, is_resumable)
        self.sessions[session.id] = session
        async with self._connected(session) as connection:
            yield connection

    @asynccontextmanager
    async def resumed(self, token: str) -> AsyncIterator[Connection[Any]]:
        """Give a session to a new connection, as `session` does; raises RefusedError."""
        self._check_draining()
        running = next((one for one in self.sessions.values() if token and one.resume_token == token), None)
        session = self._kept.pop(token, running)
        if session is None:
            raise refused(Reason.SESSION_NOT_FOUND, "no session has this resume token", "resume.resume_token")
        if timer := self._timers.pop(token, None):
            timer.cancel()
        async with self._connected(session) as connection:
            yield connection

    @contextmanager
    def file(self) -> Iterator[None]:
        """Admit a media file, which is held in memory; raises RefusedError."""
        if self._files >= self.limits.max_clips:
            message = f"the server reads {self.limits.max_clips} media files now, which is its limit"
            raise refused(Reason.LIMIT_REACHED, message, "max_clips", RETRY_S)
        self._files += 1
        try:
            yield
        finally:
            self._files -= 1

    @property
    def is_draining(self) -> bool:
        """True once the server takes no more sessions."""
        return self._draining

    def drain(self) -> None:
        """Take no more sessions and finish those that run: their clients get all results and the totals."""
        self._draining = True
        for session in self.sessions.values():
            message = "the server is shutting down; the session ends now"
            session.runner.notify(Notice(NoticeType.DRAINING, message))
            session.runner.finish(CloseReason.SERVER_SHUTDOWN, DRAIN_S)

    async def close(self) -> None:
        """Forget the sessions that wait for their clients."""
        for session in list(self._kept.values()):
            await self._drop(session)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def _connected(self, session: LiveSession[Any]) -> AsyncIterator[Connection[Any]]:
        connection = session.connect()
        try:
            yield connection
        finally:
            if session.connection is connection:
                session.connection = None
                await self._keep_or_drop(session)

    async def _keep_or_drop(self, session: LiveSession[Any]) -> None:
        """Keep a resumable session for a while, also one that is over: its last responses may have been lost."""
        if not session.is_resumable or self._draining:
            await self._drop(session)
            return
        token = session.resume_token
        self._kept[token] = session
        window_s = self.limits.resume_window_ns / NS_PER_S
        self._timers[token] = asyncio.get_running_loop().call_later(window_s, self._drop_soon, session)
        if len(self._kept) > self.limits.max_sessions:
            self._drop_soon(next(iter(self._kept.values())))
        if session.is_over:
            self.sessions.pop(session.id, None)
            await session.runner.close()

    def _drop_soon(self, session: LiveSession[Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._drop(session), name="session-drop")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drop(self, session: LiveSession[Any]) -> None:
        self._kept.pop(session.resume_token, None)
        if timer := self._timers.pop(session.resume_token, None):
            timer.cancel()
        self.sessions.pop(session.id, None)
        await session.runner.close()

    def _check_draining(self) -> None:
        if self._draining:
            raise refused(Reason.SHUTTING_DOWN, "the server is shutting down", retry_s=RETRY_S)

    def _check_room(self) -> None:
        """Who waits for a client that may never come back makes room for one that is there."""
        self._check_draining()
        if len(self.sessions) < self.limits.max_sessions:
            return
        waiting = next((one for one in self._kept.values() if one.id in self.sessions), None)
        if waiting is None:
            message = f"the server has {self.limits.max_sessions} sessions, which is its limit"
            raise refused(Reason.LIMIT_REACHED, message, "max_sessions", RETRY_S)
        del self.sessions[waiting.id]
        self._drop_soon(waiting)
