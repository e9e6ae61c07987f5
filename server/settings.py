"""Everything that an operator can set: one typed object, whose fields say what they mean, in which unit.

`docs/limits.md` is made of this file (`python -m server.settings_page`), `server/__main__.py` fills it.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, PositiveInt, model_validator

from contract.timing import NS_PER_S
from server.inference.select import EngineSettings

MIB: Final = 1024 * 1024
MAX_REQUEST_BYTES: Final = 16 * MIB
"""gRPC's own bound on a message: a KServe batch of 16 windows has 9 MiB."""

Seconds = Annotated[float, Field(gt=0)]
_FROZEN: Final = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SessionLimits(BaseModel):
    """Bounds on every session. Clients see them in `SessionStarted` and `GetServerInfo`."""

    model_config = _FROZEN

    max_sessions: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Sessions and clips that run at a time."""
    max_audio_bytes: PositiveInt = 1 * MIB
    """Bytes of one message of audio."""
    max_image_bytes: PositiveInt = 4 * MIB
    """Bytes of one image."""
    max_text_bytes: PositiveInt = 16 * 1024
    """Bytes of one piece of text."""
    max_duration_s: Seconds = 4 * 3600
    """Seconds of a live session, in event time and on the clock."""
    max_chunk_s: Seconds = 5
    """Seconds of audio in one message."""
    idle_timeout_s: Seconds = 60
    """Seconds without a message after which a session is closed."""
    config_timeout_s: Seconds = 10
    """Seconds within which a call must send its config."""
    upload_timeout_s: Seconds = 120
    """Seconds within which a media file must be there as a whole."""
    max_gap_s: Seconds = 60
    """Seconds by which offsets of a stream may jump ahead."""
    resume_window_s: Seconds = 30
    """Seconds that a resumable session is kept after its connection was lost."""
    max_kept_responses: PositiveInt = 256
    """Responses kept of a resumable session whose client does not say what it has received: some 4 KiB each."""
    max_bundle_messages: PositiveInt = 64
    """Images and spans in one bundle."""
    max_clips: PositiveInt = 4
    """Media files that are held in memory at a time."""
    max_clip_bytes: PositiveInt = 64 * MIB
    """Bytes of one media file."""
    max_clip_s: Seconds = 600
    """Seconds of one media file."""
    max_clip_cpu_s: Seconds = 300
    """Seconds of CPU time that decoding one media file may take."""

    @property
    def max_duration_ns(self) -> int:
        """`max_duration_s` in nanoseconds."""
        return round(self.max_duration_s * NS_PER_S)

    @property
    def max_chunk_ns(self) -> int:
        """`max_chunk_s` in nanoseconds."""
        return round(self.max_chunk_s * NS_PER_S)

    @property
    def idle_timeout_ns(self) -> int:
        """`idle_timeout_s` in nanoseconds."""
        return round(self.idle_timeout_s * NS_PER_S)

    @property
    def max_gap_ns(self) -> int:
        """`max_gap_s` in nanoseconds."""
        return round(self.max_gap_s * NS_PER_S)

    @property
    def resume_window_ns(self) -> int:
        """`resume_window_s` in nanoseconds."""
        return round(self.resume_window_s * NS_PER_S)

    @property
    def max_clip_ns(self) -> int:
        """`max_clip_s` in nanoseconds."""
        return round(self.max_clip_s * NS_PER_S)


class IdentityLimits(BaseModel):
    """Bounds on every identity that keys or signed tokens prove; whoever shares one token has the server's alone."""

    model_config = _FROZEN

    max_sessions: PositiveInt = 50
    """Sessions and clips of one identity at a time, with the calls that have not sent their config yet."""
    sessions_per_s: Annotated[float, Field(gt=0)] = 5
    """New sessions a second."""
    session_burst: PositiveInt = 50
    """New sessions that may come at once."""
    max_clips: PositiveInt = 2
    """Media files at a time."""


class TlsSettings(BaseModel):
    """Certificates of the gRPC port. They are read again when a file changes."""

    model_config = _FROZEN

    certificate: FilePath
    """PEM file with the server's certificate, and those between it and the root."""
    key: FilePath
    """PEM file with the certificate's private key."""
    client_ca: FilePath | None = None
    """PEM file with the root of clients' certificates: then every client needs one (mutual TLS)."""


class JwtSettings(BaseModel):
    """Signed tokens of an issuer (RS256, ES256). The claim `sub` is the identity, `roles` a list of its roles."""

    model_config = _FROZEN

    jwks_file: FilePath
    """JWKS file with the issuer's public keys."""
    issuer: str
    """What the claim `iss` must be."""
    audience: str
    """What the claim `aud` must hold."""


def _not_empty(path: Path) -> Path:
    if not path.read_text(encoding="utf-8").strip():
        raise ValueError(f"{path} is empty: it must hold the bearer token")
    return path


class ServerSettings(BaseModel):
    """Everything that a server is started with."""

    model_config = _FROZEN

    repository: Path = Path("model_repository")
    """Folder of the model repository; with `triton_url` only its tokenizer is read, if it is there."""
    engine: Literal["auto", "triton", "onnxruntime"] = "auto"
    """What runs the models; auto prefers Triton and says why not."""
    triton_url: str | None = None
    """host:port of a running Triton, in place of the embedded one."""
    require_gpu: bool = False
    """Refuse to start unless every model got a GPU."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but loopback needs authentication, or `insecure`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 50051
    """Port of gRPC; 0 takes a free one."""
    http_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of /healthz, /readyz and /metrics on the same address; 0 takes a free one, not set opens none."""
    insecure: bool = False
    """Let everybody in who reaches an address that is not loopback."""
    token_file: Annotated[FilePath, AfterValidator(_not_empty)] | None = None
    """File with the bearer token that calls must carry; without it everybody who reaches the port gets in."""
    keys_file: FilePath | None = None
    """File of API keys: `name role,role sha256`, a line each; `python -m server.access.new_key` makes them.
    Roles are stream, batch and admin."""
    reflection: bool = True
    """Answer gRPC reflection, which tells callers the names and types of the services."""
    drain_s: Seconds = 10
    """Seconds that sessions may take to finish when the server is asked to stop."""
    limits: SessionLimits = SessionLimits()
    """Bounds on sessions."""
    identity: IdentityLimits = IdentityLimits()
    """Bounds on every identity that keys or signed tokens prove; whoever shares one token has the server's alone."""
    tls: TlsSettings | None = None
    """Certificates of the gRPC port; without them it speaks plain text. They are read again when a file changes."""
    jwt: JwtSettings | None = None
    """Signed tokens of an issuer (RS256, ES256). The claim `sub` is the identity, `roles` a list of its roles."""

    @property
    def engine_settings(self) -> EngineSettings:
        """What concerns the engine."""
        return EngineSettings(self.repository, self.engine, self.triton_url, self.require_gpu)

    @property
    def authenticates(self) -> bool:
        """True when calls must say who makes them."""
        by_certificate = self.tls is not None and self.tls.client_ca is not None
        return by_certificate or any(one is not None for one in (self.token_file, self.keys_file, self.jwt))

    @model_validator(mode="after")
    def _stays_at_home(self) -> Self:
        if not (self.authenticates or self.insecure or _is_loopback(self.host)):
            raise ValueError(
                f"{self.host} can be reached from other machines and nothing says who may come in: "
                "set token_file, keys_file, jwt or tls.client_ca, or insecure to let everybody in"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
