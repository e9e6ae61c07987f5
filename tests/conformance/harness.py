"""Plain gRPC against one server, and the rules of docs/protocol.md that are tried on it.

Nothing here knows how the server is built: it may run anywhere and be of any make.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from moodstream.v1 import clip_pb2, media_pb2, result_pb2, service_pb2_grpc, session_pb2

from client import Clip, MediaOptions, builtin_clip

RATE: Final = 16_000
MAX_MESSAGE_BYTES: Final = 16 * 2**20
PCM = media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=RATE)
JPEG = media_pb2.VideoConfig(encoding=media_pb2.VIDEO_ENCODING_JPEG)
TEXT = media_pb2.TextConfig()
CLOSE = session_pb2.StreamSentimentRequest(close=session_pb2.CloseSession())

Request = session_pb2.StreamSentimentRequest
Response = session_pb2.StreamSentimentResponse
Media = (
    media_pb2.AudioChunk
    | media_pb2.VideoFrame
    | media_pb2.TextSpan
    | media_pb2.MediaBundle
    | session_pb2.EndOfModality
    | session_pb2.EndOfUtterance
)
_FIELDS: Final = {
    media_pb2.AudioChunk: "audio",
    media_pb2.VideoFrame: "video",
    media_pb2.TextSpan: "text",
    media_pb2.MediaBundle: "bundle",
    session_pb2.EndOfModality: "end_of_modality",
    session_pb2.EndOfUtterance: "end_of_utterance",
}

Case = Callable[["Peer"], Awaitable[None]]
RULES: Final[dict[str, list[Case]]] = {}
"""The cases of each rule, by its number."""


def rule(*numbers: str) -> Callable[[Case], Case]:
    """Register a case for the rules that it shows."""

    def register(case: Case) -> Case:
        for number in numbers:
            RULES.setdefault(number, []).append(case)
        return case

    return register


@dataclass(frozen=True)
class Failed:
    """How a call failed."""

    code: grpc.StatusCode
    details: dict[str, Any]
    """The messages of the status details, by the name of their type: `ErrorInfo`, `BadRequest`, ..."""

    @property
    def reason(self) -> str:
        info = self.details["ErrorInfo"]
        assert info.domain == "moodstream", info
        return str(info.reason)

    @property
    def fields(self) -> list[str]:
        return [one.field for one in self.details["BadRequest"].field_violations]


@dataclass(frozen=True)
class Peer:
    """A server, as its clients see it."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def stub(self) -> service_pb2_grpc.SentimentServiceStub:
        return service_pb2_grpc.SentimentServiceStub(self.channel)

    def open(self, timeout: float | None = None) -> "grpc.aio.StreamStreamCall[Request, Response]":
        """Open a stream."""
        return self.stub.StreamSentiment(timeout=timeout, metadata=self.metadata)

    async def begin(self, config: session_pb2.SessionConfig) -> tuple[Any, session_pb2.SessionStarted]:
        """Begin a session, which the case carries on."""
        call = self.open()
        await call.write(Request(config=config))
        return call, (await call.read()).started

    async def exchange(self, requests: Iterable[Request]) -> list[Response]:
        """Send requests, end the client's side, and return all responses; raises AioRpcError."""

        async def each() -> AsyncIterator[Request]:
            for one in requests:
                yield one

        return [one async for one in self.stub.StreamSentiment(each(), metadata=self.metadata)]

    async def session(self, config: session_pb2.SessionConfig, media: Iterable[Media]) -> "Told":
        """Run a whole session."""
        return Told(await self.exchange([Request(config=config), *map(request_of, media), CLOSE]))

    async def failure(self, requests: Sequence[Request]) -> Failed:
        """Return how a stream of requests fails."""
        return await failure_of(self.exchange(requests))

    async def clip(self, config: session_pb2.SessionConfig, media: Iterable[Media]) -> clip_pb2.AnalyzeClipResponse:
        """Analyse a clip that is sent as messages."""
        first = clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(session=config))
        requests = [clip_pb2.AnalyzeClipRequest(**{_FIELDS[type(one)]: one}) for one in media]
        return await self.analyze([first, *requests])

    async def analyze(self, requests: Iterable[clip_pb2.AnalyzeClipRequest]) -> clip_pb2.AnalyzeClipResponse:
        """Call AnalyzeClip."""

        async def each() -> AsyncIterator[clip_pb2.AnalyzeClipRequest]:
            for one in requests:
                yield one

        return await self.stub.AnalyzeClip(each(), metadata=self.metadata)


@asynccontextmanager
async def peer_at(address: str, token: str = "") -> AsyncIterator[Peer]:
    """Connect to a server."""
    options = (("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", -1))
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield Peer(channel, metadata)


class Told:
    """What a session answered."""

    def __init__(self, responses: Sequence[Response]) -> None:
        self.responses = responses
        self.results = [one.result for one in responses if one.HasField("result")]
        self.rejected = [one.rejected for one in responses if one.HasField("rejected")]
        self.closed = responses[-1].closed
        assert responses[-1].HasField("closed"), responses[-1]

    def of(self, scope: "result_pb2.Scope.ValueType", final: bool = True) -> list[result_pb2.SentimentResult]:
        """Return the results of a scope: only final ones, or all."""
        return [one for one in self.results if one.scope == scope and (one.is_final or not final)]

    @property
    def windows(self) -> list[result_pb2.SentimentResult]:
        return self.of(result_pb2.SCOPE_WINDOW)

    @property
    def utterances(self) -> list[result_pb2.SentimentResult]:
        return self.of(result_pb2.SCOPE_UTTERANCE)

    def totals(self, modality: "media_pb2.Modality.ValueType") -> session_pb2.ModalityTotals:
        return next(one for one in self.closed.totals if one.modality == modality)

    @property
    def reasons(self) -> list[str]:
        """Reasons of the rejections, without their prefix."""
        names = [type(one.error).DESCRIPTOR.fields_by_name["reason"].enum_type for one in self.rejected]
        return [
            name.values_by_number[one.error.reason].name.removeprefix("ERROR_REASON_")
            for name, one in zip(names, self.rejected, strict=True)
        ]


async def failure_of(call: Awaitable[Any]) -> Failed:
    """Return how a call fails; raises AssertionError when it does not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return failed(error)
    raise AssertionError("the call did not fail")


async def read_all(call: Any) -> list[Response]:
    """Return all further responses of a call; raises AioRpcError."""
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


def failed(error: grpc.aio.AioRpcError) -> Failed:
    """Read the details of a call that failed."""
    details: dict[str, Any] = {}
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for packed in status_pb2.Status.FromString(value).details:
                name = packed.type_url.rpartition(".")[2]
                message = getattr(error_details_pb2, name)()
                packed.Unpack(message)
                details[name] = message
    return Failed(error.code(), details)


def request_of(media: Media) -> Request:
    """Wrap a message."""
    return Request(**{_FIELDS[type(media)]: media})


def at(seconds: float) -> Duration:
    """Return a duration."""
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def audio(sequence: int, start_s: float, samples: np.ndarray) -> media_pb2.AudioChunk:
    """Return 16-bit samples as a message."""
    data = np.asarray(samples, dtype="<i2").tobytes()
    return media_pb2.AudioChunk(sequence=sequence, start_offset=at(start_s), data=data)


def tone(seconds: float) -> np.ndarray:
    """Return a hum, int16 [samples] at 16 kHz."""
    return (6_000 * np.sin(np.arange(round(seconds * RATE)) / 9)).astype(np.int16)


def silence(seconds: float, chunk_s: float = 0.1) -> list[media_pb2.AudioChunk]:
    """Return silent audio in chunks."""
    count = round(seconds / chunk_s)
    quiet = np.zeros(round(chunk_s * RATE), np.int16)
    return [audio(number, number * chunk_s, quiet) for number in range(count)]


def span(sequence: int, start_s: float, end_s: float, text: str, **fields: Any) -> media_pb2.TextSpan:
    """Return words with their times."""
    times = {"start_offset": at(start_s), "duration": at(end_s - start_s)}
    return media_pb2.TextSpan(sequence=sequence, text=text, **times, **fields)


def end(offset_s: float) -> session_pb2.EndOfUtterance:
    """Return the end of an utterance."""
    return session_pb2.EndOfUtterance(offset=at(offset_s))


def in_order(*timed: tuple[float, Media]) -> list[Media]:
    """Return messages in the order in which they are sent; equal times stay as given."""
    return [media for _, media in sorted(timed, key=lambda pair: pair[0])]


def builtin(**options: bool) -> tuple[Clip, list[Media]]:
    """Return the built-in clip and all its messages, in the order of a live source."""
    clip = builtin_clip(MediaOptions(audio=options.get("audio", True), video=options.get("video", True)))
    return clip, [timed.media for timed in clip.open()]


def statuses(result: result_pb2.SentimentResult) -> list[str]:
    """Return USED, MISSING, LATE or DROPPED of audio, video and text."""
    return [result_pb2.ModalityStatus.Name(one.status).rpartition("_")[2] for one in result.modalities]


def shape(results: Iterable[result_pb2.SentimentResult]) -> list[tuple[Any, ...]]:
    """Return what must be equal in two runs over the same media."""
    return [
        (one.id, one.start_offset.ToNanoseconds(), one.end_offset.ToNanoseconds(), tuple(statuses(one)))
        for one in results
    ]


def scores(results: Iterable[result_pb2.SentimentResult]) -> np.ndarray:
    """Return the scores of results [n, 1 + 3 + 7 + 3], for comparison."""
    return np.array(
        [
            [
                one.sentiment,
                *(score.probability for score in one.polarities),
                *(score.probability for score in one.emotions),
                *(part.contribution for part in one.modalities),
            ]
            for one in results
        ]
    )


def assert_same(
    results: Sequence[result_pb2.SentimentResult], others: Sequence[result_pb2.SentimentResult], atol: float = 1e-3
) -> None:
    """Compare two runs over the same media."""
    assert shape(results) == shape(others)
    np.testing.assert_allclose(scores(results), scores(others), atol=atol)


def name_of(case: Case) -> str:
    """Return the name of a case and where it stands."""
    module = inspect.getmodule(case)
    return f"{module.__name__.rpartition('.')[2] if module else '?'}.{getattr(case, '__name__', '?')}"
