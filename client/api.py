"""The asynchronous client: live sessions, whole clips, and what the server is.

    async with MoodstreamClient("127.0.0.1:50051") as client:
        async for message in client.stream(open_clip("talk.mp4", transcript="talk.srt")):
            match message:
                case SentimentResult(is_final=True):
                    print(message.end_offset, message.sentiment)

The messages are those of `moodstream.v1`. Nothing here knows terminals or files other than as bytes.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Self

import grpc
from moodstream.v1.clip_pb2 import AnalyzeClipRequest, AnalyzeClipResponse, ClipConfig, MediaFile
from moodstream.v1.result_pb2 import SentimentResult
from moodstream.v1.service_pb2 import GetServerInfoRequest, GetServerInfoResponse
from moodstream.v1.service_pb2_grpc import SentimentServiceStub
from moodstream.v1.session_pb2 import (
    MediaRejected,
    SessionClosed,
    SessionConfig,
    SessionEvent,
    SessionResumed,
    SessionStarted,
)

from client.clip import Clip, Media, clip_request
from client.durations import to_duration
from client.errors import MediaError, StatusWatch, from_status, reason_of
from client.live import Call, LiveStream
from client.media import transcript_of
from client.pacing import Pacer, paced
from client.transcript import Transcript

Message = SessionStarted | SessionResumed | SentimentResult | MediaRejected | SessionEvent | SessionClosed
"""What a session answers: one `SessionStarted`, then results, rejections and events, last one `SessionClosed`."""

MAX_MESSAGE_BYTES: Final = 16 * 2**20
"""As large as the server takes and gives."""
FILE_PIECE_BYTES: Final = 256 * 2**10
INFO_TIMEOUT_S: Final = 10.0
ANALYZE_TIMEOUT_S: Final = 600.0

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Servers allow a ping every 20 s at most and answer faster ones with GOAWAY (too_many_pings).
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def open_channel(target: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """Return a channel with the client's limits and keepalive; in clear text when there are no credentials."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(target, credentials, options=_CHANNEL_OPTIONS)


def token_metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    """Return the call metadata that carries a bearer token."""
    return (("authorization", f"Bearer {token}"),) if token else ()


class MoodstreamClient:
    """A connection to one server. Any number of calls may run on it at the same time."""

    def __init__(
        self, target: str, token: str | None = None, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        """Prepare a connection; it is opened by the first call.

        Args:
            target: host and port, or any name that gRPC resolves.
            token: bearer token, for servers that ask for one.
            credentials: of TLS, for example `grpc.ssl_channel_credentials()`; without, the connection is in clear text.
        """
        self.target = target
        self._metadata = token_metadata(token)
        self._channel = open_channel(target, credentials)
        self._stub = SentimentServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and cancel what still runs on it."""
        await self._channel.close()

    async def info(self, timeout_s: float = INFO_TIMEOUT_S) -> GetServerInfoResponse:
        """Return the server's models, labels, limits and engine; raises MoodstreamError."""
        try:
            return await self._stub.GetServerInfo(GetServerInfoRequest(), timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error.trailing_metadata())
            raise from_status(error.code(), error.details() or "", self.target, reason=reason) from None

    async def analyze(
        self,
        source: str | Path | bytes | Clip,
        transcript: str | Transcript | None = None,
        timeout_s: float = ANALYZE_TIMEOUT_S,
    ) -> AnalyzeClipResponse:
        """Analyse a whole clip as fast as the server can.

        Args:
            source: path or bytes of a media file, which the server decodes; or a `Clip`, whose messages are sent.
            transcript: words of a media file, or the name of their file (see `client.transcript`); a `Clip` brings its
                own.
            timeout_s: deadline of the whole call.

        Raises:
            MediaError: the file or the transcript can't be read.
            MoodstreamError: the server can't be reached, refused the clip or failed.
        """
        requests = _clip_requests(source) if isinstance(source, Clip) else _file_requests(source, transcript)
        call = self._stub.AnalyzeClip(timeout=timeout_s, metadata=self._metadata)
        status = StatusWatch(call)
        try:
            await _write_all(call, requests)
            return await call
        except grpc.aio.AioRpcError as error:
            raise await status.error(error, self.target) from None
        finally:
            call.cancel()

    async def stream(
        self,
        source: Clip | AsyncIterator[Media],
        config: SessionConfig | None = None,
        *,
        pacer: Pacer | None = None,
        timeout_s: float | None = None,
        resume: bool = True,
    ) -> AsyncGenerator[Message, None]:
        """Run a live session: send `source`, and yield what the server says meanwhile.

        Media is taken from `source` once the server has accepted the session, and only as fast as the server takes it.
        When the source ends, the session is closed and the last results follow. Leaving the loop early cancels the
        session; use `contextlib.aclosing` to have that happen at once. A connection that is lost is replaced, and
        everything still comes exactly once: a `SessionResumed` says that it happened.

        Args:
            source: a `Clip`, or media messages as they happen.
            config: what is sent and how it is encoded; a clip brings its own.
            pacer: how a clip is timed; by default in real time.
            timeout_s: deadline of the whole session; none by default.
            resume: replace lost connections, for as long as the server keeps the session.

        Raises:
            ServerUnreachableError: no server answers.
            StreamEndedError: the connection was lost for good before the session was closed.
            MoodstreamError: the server refused the session or failed.
            Exception: whatever `source` raises, after the session was cancelled.
        """
        if isinstance(source, Clip):
            config = config or source.config
            source = paced(source.open(), pacer or Pacer())
        if config is None:
            raise TypeError("a source that is not a Clip needs a config")
        effective = SessionConfig()
        effective.CopyFrom(config)
        effective.resumable = resume
        live = LiveStream(self._open_stream, self._is_reachable, self.target, effective, timeout_s)
        async with aclosing(live.run(source)) as responses:
            async for response in responses:
                if (kind := response.WhichOneof("response")) is not None:
                    yield getattr(response, kind)

    def _is_reachable(self) -> bool:
        """Whether the channel is connected, or was: a server that no connection can be made to is another matter."""
        return self._channel.get_state() != grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def _open_stream(self, timeout_s: float | None) -> Call:
        return self._stub.StreamSentiment(timeout=timeout_s, metadata=self._metadata)


async def _write_all(
    call: "grpc.aio.StreamUnaryCall[AnalyzeClipRequest, Any]", requests: AsyncIterator[AnalyzeClipRequest]
) -> None:
    """Write a clip. Written here rather than by gRPC's own task, which would hide an exception of the source."""
    try:
        async for request in requests:
            await call.write(request)
        await call.done_writing()
    except asyncio.InvalidStateError:  # the server has answered already: the answer says why
        return


async def _clip_requests(clip: Clip) -> AsyncIterator[AnalyzeClipRequest]:
    yield AnalyzeClipRequest(config=ClipConfig(session=clip.config))
    async with aclosing(paced(clip.open(), Pacer(fast=True))) as messages:
        async for media in messages:
            yield clip_request(media)


async def _file_requests(
    source: str | Path | bytes, transcript: str | Transcript | None
) -> AsyncIterator[AnalyzeClipRequest]:
    if isinstance(transcript, str):
        transcript = await asyncio.to_thread(transcript_of, source, transcript)
    data = source if isinstance(source, bytes) else await asyncio.to_thread(_read, Path(source))
    ends = [to_duration(end_ns) for end_ns in transcript.utterance_ends_ns] if transcript else []
    file = MediaFile(transcript=transcript.spans() if transcript else [], utterance_ends=ends)
    yield AnalyzeClipRequest(config=ClipConfig(file=file))
    for start in range(0, len(data), FILE_PIECE_BYTES):
        yield AnalyzeClipRequest(data=data[start : start + FILE_PIECE_BYTES])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path} can't be read: {error.strerror}") from None
