"""From the wire: what clients configure and send, in the session's own types."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import clip_pb2, media_pb2, session_pb2

from contract.timing import HOP_NS, LATENESS_NS, NS_PER_S
from server.live.failures import Failure, refused
from server.live.intake import Incoming
from server.media.audio import AudioSettings
from server.media.session_media import MediaSettings
from server.media.video import VideoSettings
from server.rpc.enums import AUDIO_ENCODING_OF, MODALITY_OF, VIDEO_ENCODING_OF
from server.session.core import SessionSettings
from server.session.messages import EndOfModality, EndOfUtterance, Item, Media, Modality, Word
from server.session.reasons import Reason
from server.settings import SessionLimits

MAX_LATENESS_NS = 5 * NS_PER_S
INTERVALS_NS = (HOP_NS, 2 * HOP_NS, 4 * HOP_NS)
MAX_SMOOTHING_NS = 10 * NS_PER_S
MIN_PAUSE_NS, DEFAULT_PAUSE_NS, MAX_PAUSE_NS = NS_PER_S // 5, NS_PER_S * 4 // 5, 5 * NS_PER_S
OUTPUTS = frozenset(session_pb2.Output.values()) - {session_pb2.OUTPUT_UNSPECIFIED}
DEFAULT_OUTPUTS = {session_pb2.OUTPUT_POLARITY, session_pb2.OUTPUT_EMOTION}

Request = session_pb2.StreamSentimentRequest | clip_pb2.AnalyzeClipRequest


def to_ns(duration: Duration) -> int:
    """Return a duration in nanoseconds."""
    return duration.seconds * NS_PER_S + duration.nanos


@dataclass(frozen=True)
class ResultSettings:
    """What results hold, with defaults filled in."""

    smoothing_ns: int = 0
    polarities: bool = True
    emotions: bool = True
    embeddings: bool = False


def session_settings(config: session_pb2.SessionConfig, limits: SessionLimits) -> SessionSettings:
    """Check a session's configuration and fill in the defaults; raises RefusedError."""
    modalities = frozenset(modality for modality in Modality if config.HasField(modality.value))
    if not modalities:
        raise invalid("config", "config: at least one of audio, video and text must be set")
    if config.HasField("endpointing") and Modality.AUDIO not in modalities:
        raise invalid("config.endpointing", "config.endpointing: pauses are found in audio, and audio is not set")
    lateness_ns = to_ns(config.lateness) if config.HasField("lateness") else LATENESS_NS
    return SessionSettings(
        modalities,
        _within(lateness_ns, 0, MAX_LATENESS_NS, "config.lateness"),
        config.results.final_only,
        interval_of(config.results, "config.results"),
        endpointing_of(config, "config"),
        max_gap_ns=limits.max_gap_ns,
        max_duration_ns=limits.max_duration_ns,
    )


def interval_of(config: session_pb2.ResultConfig, path: str) -> int:
    """Return the session time from one window to the next, in nanoseconds; raises RefusedError."""
    interval_ns = to_ns(config.interval) if config.HasField("interval") else HOP_NS
    if interval_ns not in INTERVALS_NS:
        raise invalid(f"{path}.interval", f"{path}.interval is {interval_ns / NS_PER_S:g} s: expected 0.5, 1 or 2 s")
    return interval_ns


def endpointing_of(config: session_pb2.SessionConfig | clip_pb2.MediaFile, path: str) -> int | None:
    """Return the length of the pause that ends an utterance, in nanoseconds; None without; raises RefusedError."""
    if not config.HasField("endpointing"):
        return None
    field = f"{path}.endpointing.speech_end_timeout"
    timeout = config.endpointing
    pause_ns = to_ns(timeout.speech_end_timeout) if timeout.HasField("speech_end_timeout") else DEFAULT_PAUSE_NS
    return _within(pause_ns, MIN_PAUSE_NS, MAX_PAUSE_NS, field)


def result_settings(config: session_pb2.ResultConfig, path: str) -> ResultSettings:
    """Check what results are to hold; raises RefusedError."""
    smoothing_ns = _within(to_ns(config.smoothing), 0, MAX_SMOOTHING_NS, f"{path}.smoothing")
    for number, output in enumerate(config.outputs):
        if output not in OUTPUTS:
            raise invalid(f"{path}.outputs[{number}]", f"{path}.outputs[{number}] {output} is unknown")
    outputs = set(config.outputs) or DEFAULT_OUTPUTS
    return ResultSettings(
        smoothing_ns,
        session_pb2.OUTPUT_POLARITY in outputs,
        session_pb2.OUTPUT_EMOTION in outputs,
        session_pb2.OUTPUT_EMBEDDING in outputs,
    )


def _within(value_ns: int, least_ns: int, most_ns: int, field: str) -> int:
    if not least_ns <= value_ns <= most_ns:
        bounds = f"{least_ns / NS_PER_S:g} to {most_ns / NS_PER_S:g} s"
        raise invalid(field, f"{field} is {value_ns / NS_PER_S:g} s: expected {bounds}")
    return value_ns


def media_settings(config: session_pb2.SessionConfig) -> MediaSettings:
    """Check how the media are encoded; raises RefusedError."""
    audio = _audio_settings(config.audio) if config.HasField("audio") else None
    video = _video_settings(config.video) if config.HasField("video") else None
    return MediaSettings(audio, video)


def invalid(field: str, message: str) -> Exception:
    """Return the exception for a field of the configuration that can't be used."""
    return refused(Reason.CONFIG_INVALID, message, field)


def _audio_settings(config: media_pb2.AudioConfig) -> AudioSettings:
    encoding = _known(AUDIO_ENCODING_OF, config.encoding, "config.audio.encoding")
    channels = config.audio_channel_count if config.HasField("audio_channel_count") else 1
    channel = config.audio_channel if config.HasField("audio_channel") else None
    try:
        return AudioSettings(encoding, config.sample_rate_hertz, channels, channel)
    except ValueError as error:
        raise invalid("config.audio", f"config.audio: {error}") from error


def _video_settings(config: media_pb2.VideoConfig) -> VideoSettings:
    encoding = _known(VIDEO_ENCODING_OF, config.encoding, "config.video.encoding")
    width = config.width if config.HasField("width") else None
    height = config.height if config.HasField("height") else None
    try:
        settings = VideoSettings(encoding, config.face_crop, width, height)
    except ValueError as error:
        raise invalid("config.video", f"config.video: {error}") from error
    return with_faces(settings, config, "config.video")


def with_faces(settings: VideoSettings, config: media_pb2.VideoConfig | clip_pb2.MediaFile, path: str) -> VideoSettings:
    """Return the settings with the faces that the client wants to be followed; raises RefusedError."""
    nearest = (config.face_nearest.x, config.face_nearest.y) if config.HasField("face_nearest") else None
    max_faces = config.max_faces if config.HasField("max_faces") else 1
    try:
        return replace(settings, max_faces=max_faces, face_nearest=nearest)
    except ValueError as error:
        raise invalid(path, f"{path}: {error}") from error


def _known(known: Mapping[Any, Any], value: int, field: str) -> Any:
    if value not in known:
        expected = ", ".join(one.name for one in known.values())
        raise invalid(field, f"{field} {value} is unknown: expected {expected}")
    return known[value]


def audio_media(chunk: media_pb2.AudioChunk) -> Media:
    """Return a piece of audio as a session message."""
    return Media(Modality.AUDIO, chunk.sequence, to_ns(chunk.start_offset), chunk.data)


def video_media(frame: media_pb2.VideoFrame) -> Media:
    """Return an image as a session message."""
    return Media(Modality.VIDEO, frame.sequence, to_ns(frame.start_offset), frame.data)


def text_media(span: media_pb2.TextSpan) -> Media:
    """Return words as a session message. Words with times of their own need no text, and give the span its extent."""
    has_hypothesis = span.HasField("hypothesis_id")
    words = tuple(Word(to_ns(one.start_offset), to_ns(one.end_offset), one.word) for one in span.words)
    has_time = span.HasField("start_offset") or bool(words)
    start_ns = to_ns(span.start_offset) if span.HasField("start_offset") or not words else words[0].start_ns
    duration_ns = to_ns(span.duration)
    if words and not span.HasField("duration"):
        duration_ns = words[-1].end_ns - start_ns
    return Media(
        Modality.TEXT,
        span.sequence,
        start_ns,
        span.text.encode(),
        duration_ns,
        span.hypothesis_id if has_hypothesis else None,
        span.is_final or not has_hypothesis,
        words,
        has_time,
    )


def end_of_utterance(end: session_pb2.EndOfUtterance) -> EndOfUtterance:
    """Return the end of an utterance."""
    return EndOfUtterance(to_ns(end.offset) if end.HasField("offset") else None)


class Parser:
    """Translates the messages of a connection that follow its first one."""

    def __init__(self, limits: SessionLimits) -> None:
        self._max_bundle = limits.max_bundle_messages

    def __call__(self, request: Request) -> Incoming:
        """Return one message in the session's own types."""
        kind = request.WhichOneof("request")
        received = None
        if isinstance(request, session_pb2.StreamSentimentRequest) and request.HasField("responses_received"):
            received = request.responses_received
        if kind == "close":
            return Incoming(closes=True, responses_received=received)
        found = self._items(request, kind)
        if isinstance(found, Failure):
            return Incoming(refusal=found, responses_received=received)
        return Incoming(found, responses_received=received)

    def _items(self, request: Request, kind: str | None) -> tuple[Item, ...] | Failure:
        match kind:
            case "audio":
                return (audio_media(request.audio),)
            case "video":
                return (video_media(request.video),)
            case "text":
                return (text_media(request.text),)
            case "bundle":
                return self._bundle(request.bundle)
            case "end_of_utterance":
                return (end_of_utterance(request.end_of_utterance),)
            case "end_of_modality":
                return _end_of_modality(request.end_of_modality)
            case None:
                message = "the request is empty: expected one of its fields to be set"
                return Failure(Reason.MESSAGE_EMPTY, message)
        return Failure(Reason.MESSAGE_UNEXPECTED, f"{kind} is not expected here: it comes once, first", kind)

    def _bundle(self, bundle: media_pb2.MediaBundle) -> tuple[Item, ...] | Failure:
        count = len(bundle.video) + len(bundle.text)
        if count > self._max_bundle:
            message = f"bundle has {count} images and spans: at most {self._max_bundle} are accepted"
            return Failure(Reason.MESSAGE_TOO_LARGE, message, "bundle")
        # Words must be there before the audio that makes their window final.
        items: list[Item] = [*map(text_media, bundle.text), *map(video_media, bundle.video)]
        if bundle.HasField("audio"):
            items.append(audio_media(bundle.audio))
        if not items:
            return Failure(Reason.MESSAGE_EMPTY, "bundle is empty", "bundle")
        return tuple(items)


def _end_of_modality(end: session_pb2.EndOfModality) -> tuple[Item, ...] | Failure:
    modality = MODALITY_OF.get(end.modality)
    if modality is None:
        message = f"end_of_modality.modality {end.modality} is unknown"
        return Failure(Reason.MODALITY_NOT_CONFIGURED, message, "end_of_modality.modality")
    return (EndOfModality(modality),)
