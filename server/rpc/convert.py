"""Between the wire contract and the session's own types. The only place that knows both."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, status_pb2
from moodstream.v1 import media_pb2, result_pb2, session_pb2
from numpy.typing import NDArray

from contract.labels import EMOTIONS, POLARITIES
from contract.timing import LATENESS_NS, NS_PER_S
from server.inference.engine import LoadedModel
from server.live.events import (
    Closed,
    CloseReason,
    Notice,
    NoticeType,
    Rejected,
    UtteranceResult,
    WindowResult,
)
from server.live.front import Front
from server.media.audio import AudioSettings
from server.media.audio_codecs import AudioEncoding
from server.media.session_media import MediaSettings
from server.media.video import VideoEncoding, VideoSettings
from server.session.core import SessionSettings
from server.session.fusion_input import ModalityView
from server.session.messages import EndOfModality, EndOfUtterance, Media, Modality
from server.session.pieces import Fused, Status, Totals
from server.settings import SessionLimits

MAX_LATENESS_NS = 5 * NS_PER_S

_MODALITY = {
    Modality.AUDIO: media_pb2.MODALITY_AUDIO,
    Modality.VIDEO: media_pb2.MODALITY_VIDEO,
    Modality.TEXT: media_pb2.MODALITY_TEXT,
}
_MODALITY_OF = {value: modality for modality, value in _MODALITY.items()}
_AUDIO_ENCODING = {
    media_pb2.AUDIO_ENCODING_PCM_S16LE: AudioEncoding.PCM_S16LE,
    media_pb2.AUDIO_ENCODING_PCM_F32LE: AudioEncoding.PCM_F32LE,
    media_pb2.AUDIO_ENCODING_MULAW: AudioEncoding.MULAW,
    media_pb2.AUDIO_ENCODING_FLAC: AudioEncoding.FLAC,
    media_pb2.AUDIO_ENCODING_OPUS: AudioEncoding.OPUS,
}
_VIDEO_ENCODING = {
    media_pb2.VIDEO_ENCODING_JPEG: VideoEncoding.JPEG,
    media_pb2.VIDEO_ENCODING_PNG: VideoEncoding.PNG,
    media_pb2.VIDEO_ENCODING_RGB24: VideoEncoding.RGB24,
}
_STATUS = {
    Status.USED: result_pb2.MODALITY_STATUS_USED,
    Status.MISSING: result_pb2.MODALITY_STATUS_MISSING,
    Status.LATE: result_pb2.MODALITY_STATUS_LATE,
    Status.DROPPED: result_pb2.MODALITY_STATUS_DROPPED,
}
_CLOSE_REASON = {
    CloseReason.CLIENT: session_pb2.CLOSE_REASON_CLIENT,
    CloseReason.IDLE_TIMEOUT: session_pb2.CLOSE_REASON_IDLE_TIMEOUT,
    CloseReason.MAX_DURATION: session_pb2.CLOSE_REASON_MAX_DURATION,
    CloseReason.SERVER_SHUTDOWN: session_pb2.CLOSE_REASON_SERVER_SHUTDOWN,
}
_EVENT_TYPE = {
    NoticeType.MODEL_UNAVAILABLE: session_pb2.EVENT_TYPE_MODEL_UNAVAILABLE,
    NoticeType.MODEL_RECOVERED: session_pb2.EVENT_TYPE_MODEL_RECOVERED,
    NoticeType.DRAINING: session_pb2.EVENT_TYPE_DRAINING,
}


class ConfigError(ValueError):
    """The configuration of a session can't be used. The text says which field and what was expected."""


# From the wire.


def to_ns(duration: Duration) -> int:
    """Return a duration in nanoseconds."""
    return duration.seconds * NS_PER_S + duration.nanos


def to_duration(ns: int) -> Duration:
    """Return nanoseconds as a duration; both fields have the sign of `ns`."""
    seconds, nanos = divmod(abs(ns), NS_PER_S)
    return Duration(seconds=seconds, nanos=nanos) if ns >= 0 else Duration(seconds=-seconds, nanos=-nanos)


def session_settings(config: session_pb2.SessionConfig, limits: SessionLimits) -> SessionSettings:
    """Check a session's configuration and fill in the defaults; raises ConfigError."""
    modalities = frozenset(modality for modality in Modality if config.HasField(modality.value))
    if not modalities:
        raise ConfigError("config: at least one of audio, video and text must be set")
    lateness_ns = to_ns(config.lateness) if config.HasField("lateness") else LATENESS_NS
    if not 0 <= lateness_ns <= MAX_LATENESS_NS:
        raise ConfigError(f"config.lateness is {lateness_ns / NS_PER_S:g} s: expected 0 to 5 s")
    return SessionSettings(modalities, lateness_ns, config.final_only, limits.max_gap_ns, limits.max_duration_ns)


def media_settings(config: session_pb2.SessionConfig) -> MediaSettings:
    """Check how the media are encoded; raises ConfigError."""
    audio = video = None
    if config.HasField("audio"):
        encoding = _AUDIO_ENCODING.get(config.audio.encoding)
        if encoding is None:
            raise ConfigError(f"config.audio.encoding {config.audio.encoding} is unknown: {_expected(_AUDIO_ENCODING)}")
        channels = config.audio.channels if config.audio.HasField("channels") else 1
        try:
            audio = AudioSettings(encoding, config.audio.sample_rate_hz, channels)
        except ValueError as error:
            raise ConfigError(f"config.audio: {error}") from error
    if config.HasField("video"):
        image_encoding = _VIDEO_ENCODING.get(config.video.encoding)
        if image_encoding is None:
            raise ConfigError(f"config.video.encoding {config.video.encoding} is unknown: {_expected(_VIDEO_ENCODING)}")
        width = config.video.width if config.video.HasField("width") else None
        height = config.video.height if config.video.HasField("height") else None
        try:
            video = VideoSettings(image_encoding, config.video.face_crop, width, height)
        except ValueError as error:
            raise ConfigError(f"config.video: {error}") from error
    return MediaSettings(audio, video)


def _expected(known: Mapping[Any, str]) -> str:
    return "expected " + ", ".join(name.upper() for name in known.values())


def audio_media(chunk: media_pb2.AudioChunk) -> Media:
    """Return a piece of audio as a session message."""
    return Media(Modality.AUDIO, chunk.sequence, to_ns(chunk.start_offset), chunk.data)


def video_media(frame: media_pb2.VideoFrame) -> Media:
    """Return an image as a session message."""
    return Media(Modality.VIDEO, frame.sequence, to_ns(frame.start_offset), frame.data)


def text_media(span: media_pb2.TextSpan) -> Media:
    """Return words as a session message."""
    duration_ns = to_ns(span.duration) if span.HasField("duration") else 0
    return Media(Modality.TEXT, span.sequence, to_ns(span.start_offset), span.text.encode(), duration_ns)


def end_of_modality(end: session_pb2.EndOfModality) -> EndOfModality | None:
    """Return the end of a stream; None when the modality is not one of ours."""
    modality = _MODALITY_OF.get(end.modality)
    return None if modality is None else EndOfModality(modality)


def end_of_utterance(end: session_pb2.EndOfUtterance) -> EndOfUtterance:
    """Return the end of an utterance."""
    return EndOfUtterance(to_ns(end.offset))


# To the wire.


def effective_config(config: session_pb2.SessionConfig, settings: SessionSettings) -> session_pb2.SessionConfig:
    """Return the client's configuration with the defaults filled in."""
    effective = session_pb2.SessionConfig()
    effective.CopyFrom(config)
    effective.lateness.CopyFrom(to_duration(settings.lateness_ns))
    if effective.HasField("audio") and not effective.audio.HasField("channels"):
        effective.audio.channels = 1
    return effective


def started_message(
    front: Front, session_id: str, config: session_pb2.SessionConfig, settings: SessionSettings
) -> session_pb2.SessionStarted:
    """Return the first message of a session."""
    return session_pb2.SessionStarted(
        session_id=session_id,
        config=effective_config(config, settings),
        limits=limits_message(front.limits),
        models=model_versions(front.models),
        engine=front.engine.name,
    )


def limits_message(limits: SessionLimits) -> session_pb2.Limits:
    """Return the limits as clients see them."""
    return session_pb2.Limits(
        max_audio_message_bytes=limits.max_audio_bytes,
        max_video_message_bytes=limits.max_image_bytes,
        max_text_message_bytes=limits.max_text_bytes,
        max_sessions=limits.max_sessions,
        max_session_duration=to_duration(limits.max_duration_ns),
        max_chunk_duration=to_duration(limits.max_chunk_ns),
        idle_timeout=to_duration(limits.idle_timeout_ns),
        max_gap=to_duration(limits.max_gap_ns),
        max_clip_bytes=limits.max_clip_bytes,
        max_clip_duration=to_duration(limits.max_clip_ns),
    )


def model_versions(models: Sequence[LoadedModel]) -> list[session_pb2.ModelVersion]:
    """Return the newest version of each model, which is the one that answers."""
    return [
        session_pb2.ModelVersion(model=model.name, version=max(model.versions, key=int))
        for model in models
        if model.versions
    ]


def rejected_message(rejected: Rejected) -> session_pb2.MediaRejected:
    """Return a refusal as the client sees it."""
    code = code_pb2.INTERNAL if rejected.is_internal else code_pb2.INVALID_ARGUMENT
    modality = media_pb2.MODALITY_UNSPECIFIED if rejected.modality is None else _MODALITY[rejected.modality]
    return session_pb2.MediaRejected(
        modality=modality, sequence=rejected.sequence, status=status_pb2.Status(code=code, message=rejected.message)
    )


def notice_message(notice: Notice) -> session_pb2.SessionEvent:
    """Return a notice as the client sees it."""
    return session_pb2.SessionEvent(type=_EVENT_TYPE[notice.type], message=notice.message, model=notice.model)


def window_message(result: WindowResult) -> result_pb2.SentimentResult:
    """Return a window's scores as the client sees them."""
    plan, timings = result.plan, result.timings
    message = _result(result_pb2.SCOPE_WINDOW, plan.index, plan.start_ns, plan.end_ns, result.fused)
    message.revision = plan.revision
    message.is_final = plan.is_final
    for number, modality in enumerate(Modality):
        view = result.views[modality]
        contribution = None if result.fused is None else float(result.fused.contribution[number])
        message.modalities.append(_modality(modality, view, contribution, plan.acknowledged.get(modality)))
    total_ns = timings.decode_ns + timings.encode_ns + timings.fuse_ns
    message.timings.CopyFrom(
        result_pb2.StageTimings(
            decode=to_duration(timings.decode_ns),
            encode=to_duration(timings.encode_ns),
            fuse=to_duration(timings.fuse_ns),
            total=to_duration(total_ns),
        )
    )
    return message


def utterance_message(result: UtteranceResult) -> result_pb2.SentimentResult:
    """Return an utterance's scores as the client sees them."""
    plan = result.plan
    message = _result(result_pb2.SCOPE_UTTERANCE, plan.index, plan.start_ns, plan.end_ns, result.fused)
    message.is_final = True
    _add_contributions(message, result.fused)
    return message


def closed_message(closed: Closed) -> session_pb2.SessionClosed:
    """Return a session's end as the client sees it."""
    message = session_pb2.SessionClosed(
        reason=_CLOSE_REASON[closed.reason], totals=totals_messages(closed.totals), results=closed.results
    )
    if closed.summary is not None:
        message.summary.CopyFrom(summary_message(closed))
    return message


def summary_message(closed: Closed) -> result_pb2.SentimentResult:
    """Return the session's own scores."""
    message = _result(result_pb2.SCOPE_SESSION, 0, 0, closed.end_ns, closed.summary)
    message.is_final = True
    _add_contributions(message, closed.summary)
    return message


def totals_messages(totals: dict[Modality, Totals]) -> list[session_pb2.ModalityTotals]:
    """Return the fates of all messages, in the order of the modalities."""
    return [
        session_pb2.ModalityTotals(
            modality=_MODALITY[modality],
            received=one.received,
            used=one.used,
            skipped=one.skipped,
            late=one.late,
            dropped=one.dropped,
            rejected=one.rejected,
        )
        for modality, one in totals.items()
    ]


def _result(
    scope: "result_pb2.Scope.ValueType", index: int, start_ns: int, end_ns: int, fused: Fused | None
) -> result_pb2.SentimentResult:
    message = result_pb2.SentimentResult(
        scope=scope, id=index, start_offset=to_duration(start_ns), end_offset=to_duration(end_ns)
    )
    if fused is not None:
        message.sentiment = fused.sentiment
        message.confidence = fused.confidence
        message.polarities.extend(_labelled(POLARITIES, fused.polarity))
        message.emotions.extend(_labelled(EMOTIONS, fused.emotion))
    return message


def _add_contributions(message: result_pb2.SentimentResult, fused: Fused | None) -> None:
    if fused is not None:
        for number, modality in enumerate(Modality):
            message.modalities.append(
                result_pb2.ModalityResult(modality=_MODALITY[modality], contribution=float(fused.contribution[number]))
            )


def _modality(
    modality: Modality, view: ModalityView, contribution: float | None, acknowledged: int | None
) -> result_pb2.ModalityResult:
    message = result_pb2.ModalityResult(
        modality=_MODALITY[modality],
        status=_STATUS[view.status],
        contribution=contribution,
        coverage=view.coverage,
        acknowledged_sequence=acknowledged,
    )
    if view.emotion is not None and view.sentiment is not None:
        message.scores.sentiment = view.sentiment
        message.scores.emotions.extend(_labelled(EMOTIONS, view.emotion))
    return message


def _labelled(labels: Sequence[str], probabilities: NDArray[np.float32]) -> list[result_pb2.LabelScore]:
    return [
        result_pb2.LabelScore(label=label, probability=float(probability))
        for label, probability in zip(labels, probabilities, strict=True)
    ]
