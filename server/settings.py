"""Settings of a server process, with their bounds. The command line in `server/__main__.py` fills them."""

from dataclasses import dataclass, field
from typing import Final

from contract.timing import NS_PER_S
from server.inference.select import EngineSettings

MIB: Final = 1024 * 1024
MAX_REQUEST_BYTES: Final = 16 * MIB
"""gRPC's own bound on a message: a KServe batch of 16 windows has 9 MiB."""


@dataclass(frozen=True)
class SessionLimits:
    """Bounds on every session. Clients see them in `SessionStarted` and `GetServerInfo`."""

    max_sessions: int = 200
    max_audio_bytes: int = 1 * MIB
    max_image_bytes: int = 4 * MIB
    max_text_bytes: int = 16 * 1024
    max_duration_ns: int = 4 * 3600 * NS_PER_S
    """Of a live session, in event time and on the clock."""
    max_chunk_ns: int = 5 * NS_PER_S
    idle_timeout_ns: int = 60 * NS_PER_S
    max_gap_ns: int = 60 * NS_PER_S
    resume_window_ns: int = 30 * NS_PER_S
    """How long a resumable session is kept after its connection was lost."""
    max_kept_responses: int = 256
    """Of a resumable session whose client does not say what it has received: some 4 KiB each."""
    max_bundle_messages: int = 64
    """Images and spans in one bundle."""
    max_clips: int = 4
    """Media files that are held in memory at a time."""
    max_clip_bytes: int = 64 * MIB
    max_clip_ns: int = 600 * NS_PER_S


@dataclass(frozen=True)
class ServerSettings:
    """Everything that a server is started with."""

    engine: EngineSettings
    host: str = "127.0.0.1"
    port: int = 50051
    """0 takes a free one."""
    token: str | None = field(default=None, repr=False)
    """Bearer token that every call must carry; None lets everybody in, which is for loopback."""
    drain_s: float = 10.0
    """How long sessions may take to finish when the server is asked to stop."""
    limits: SessionLimits = SessionLimits()
