"""What all calls share: the engine, the batchers, the decoders, and the admission of sessions."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from server.inference.encoders import Encoders
from server.inference.engine import Engine, LoadedModel
from server.live.events import CloseReason, Notice, NoticeType
from server.live.runner import Patience, SessionRunner
from server.media.clip_decoders import ClipDecoders
from server.media.faces import FaceDetector
from server.media.pump import MediaPump
from server.media.session_media import MediaSettings, SessionMedia
from server.session.core import SessionCore, SessionSettings
from server.settings import SessionLimits


class AdmissionError(Exception):
    """The server takes no more sessions now."""


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
    sessions: dict[str, SessionRunner] = field(default_factory=dict)
    _draining: bool = False
    _files: int = 0

    @asynccontextmanager
    async def session(
        self, settings: SessionSettings, media: MediaSettings, patience: Patience
    ) -> AsyncIterator[tuple[str, SessionRunner]]:
        """Admit a session and end it with the block; raises AdmissionError."""
        if self._draining:
            raise AdmissionError("the server is shutting down")
        if len(self.sessions) >= self.limits.max_sessions:
            raise AdmissionError(f"the server has {self.limits.max_sessions} sessions, which is its limit")
        decoders = SessionMedia(media, self.detector, self.limits.max_chunk_ns, self.limits.max_gap_ns)
        session_id = uuid.uuid4().hex
        runner = SessionRunner(SessionCore(settings), decoders, self.pump, self.encoders, patience)
        self.sessions[session_id] = runner
        try:
            yield session_id, runner
        finally:
            del self.sessions[session_id]
            await runner.close()

    @contextmanager
    def file(self) -> Iterator[None]:
        """Admit a media file, which is held in memory; raises AdmissionError."""
        if self._files >= self.limits.max_clips:
            raise AdmissionError(f"the server reads {self.limits.max_clips} media files now, which is its limit")
        self._files += 1
        try:
            yield
        finally:
            self._files -= 1

    def drain(self) -> None:
        """Take no more sessions and finish those that run: their clients get all results and the totals."""
        self._draining = True
        for runner in self.sessions.values():
            runner.notify(Notice(NoticeType.DRAINING, "the server is shutting down; the session ends now"))
            runner.finish(CloseReason.SERVER_SHUTDOWN)
