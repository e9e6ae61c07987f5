"""To the wire: what a session says, as its client sees it."""

from collections.abc import Sequence

import numpy as np
from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import error_pb2, media_pb2, result_pb2, session_pb2
from numpy.typing import NDArray

from contract.timing import NS_PER_S
from server.inference.engine import LoadedModel
from server.live.events import Closed, Event, Notice, Rejected, UtteranceResult, WindowResult
from server.live.failures import Failure
from server.live.front import Front
from server.live.session import LiveSession
from server.rpc.enums import CLOSE_REASON, EMOTION, ENGINE, ERROR_REASON, EVENT_TYPE, MODALITY, POLARITY, STATUS
from server.session.core import SessionSettings
from server.session.fusion_input import ModalityView
from server.session.messages import Modality
from server.session.pieces import Fused, Totals
from server.settings import SessionLimits


def to_duration(ns: int) -> Duration:
    """Return nanoseconds as a duration; both fields have the sign of `ns`."""
    seconds, nanos = divmod(abs(ns), NS_PER_S)
    return Duration(seconds=seconds, nanos=nanos) if ns >= 0 else Duration(seconds=-seconds, nanos=-nanos)


def stream_response(event: Event) -> session_pb2.StreamSentimentResponse:
    """Return an event of a session as a response."""
    if isinstance(event, WindowResult):
        return session_pb2.StreamSentimentResponse(result=window_message(event))
    if isinstance(event, UtteranceResult):
        return session_pb2.StreamSentimentResponse(result=utterance_message(event))
    if isinstance(event, Rejected):
        return session_pb2.StreamSentimentResponse(rejected=rejected_message(event))
    if isinstance(event, Notice):
        return session_pb2.StreamSentimentResponse(event=notice_message(event))
    return session_pb2.StreamSentimentResponse(closed=closed_message(event))


def effective_config(config: session_pb2.SessionConfig, settings: SessionSettings) -> session_pb2.SessionConfig:
    """Return the client's configuration with the defaults filled in."""
    effective = session_pb2.SessionConfig()
    effective.CopyFrom(config)
    effective.lateness.CopyFrom(to_duration(settings.lateness_ns))
    if effective.HasField("audio") and not effective.audio.HasField("audio_channel_count"):
        effective.audio.audio_channel_count = 1
    return effective


def started_message(
    front: Front,
    session: LiveSession[session_pb2.StreamSentimentResponse],
    config: session_pb2.SessionConfig,
    settings: SessionSettings,
) -> session_pb2.SessionStarted:
    """Return the first answer of a session."""
    return session_pb2.SessionStarted(
        session_id=session.id,
        config=effective_config(config, settings),
        limits=limits_message(front.limits),
        models=model_versions(front.models),
        engine=ENGINE[front.engine.name],
        resume_token=session.resume_token,
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
        resume_window=to_duration(limits.resume_window_ns),
        max_kept_responses=limits.max_kept_responses,
        max_bundle_messages=limits.max_bundle_messages,
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
    modality = media_pb2.MODALITY_UNSPECIFIED if rejected.modality is None else MODALITY[rejected.modality]
    return session_pb2.MediaRejected(
        modality=modality, sequence=rejected.sequence, error=error_message(rejected.failure)
    )


def error_message(failure: Failure) -> error_pb2.Error:
    """Return a failure inside a session as the client sees it."""
    return error_pb2.Error(
        reason=ERROR_REASON[failure.reason],
        message=failure.message,
        field=failure.field,
        retry_delay=None if failure.retry_s is None else to_duration(round(failure.retry_s * NS_PER_S)),
    )


def notice_message(notice: Notice) -> session_pb2.SessionEvent:
    """Return a notice as the client sees it."""
    return session_pb2.SessionEvent(type=EVENT_TYPE[notice.type], message=notice.message, model=notice.model)


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
        reason=CLOSE_REASON[closed.reason], totals=totals_messages(closed.totals), results=closed.results
    )
    if closed.summary is not None:
        message.summary.CopyFrom(summary_message(closed))
    if closed.failure is not None:
        message.error.CopyFrom(error_message(closed.failure))
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
            modality=MODALITY[modality],
            received=one.received,
            used=one.used,
            skipped=one.skipped,
            late=one.late,
            dropped=one.dropped,
            rejected=one.rejected,
        )
        for modality, one in totals.items()
    ]


_ID_PREFIX = {
    result_pb2.SCOPE_WINDOW: "window-",
    result_pb2.SCOPE_UTTERANCE: "utterance-",
    result_pb2.SCOPE_SESSION: "session-",
}


def _result(
    scope: "result_pb2.Scope.ValueType", index: int, start_ns: int, end_ns: int, fused: Fused | None
) -> result_pb2.SentimentResult:
    message = result_pb2.SentimentResult(
        scope=scope,
        id=f"{_ID_PREFIX[scope]}{index}",
        index=index,
        start_offset=to_duration(start_ns),
        end_offset=to_duration(end_ns),
    )
    if fused is not None:
        message.sentiment = fused.sentiment
        message.confidence = fused.confidence
        message.polarities.extend(_polarities(fused.polarity))
        message.emotions.extend(_emotions(fused.emotion))
    return message


def _add_contributions(message: result_pb2.SentimentResult, fused: Fused | None) -> None:
    if fused is not None:
        for number, modality in enumerate(Modality):
            message.modalities.append(
                result_pb2.ModalityResult(modality=MODALITY[modality], contribution=float(fused.contribution[number]))
            )


def _modality(
    modality: Modality, view: ModalityView, contribution: float | None, acknowledged: int | None
) -> result_pb2.ModalityResult:
    message = result_pb2.ModalityResult(
        modality=MODALITY[modality],
        status=STATUS[view.status],
        contribution=contribution,
        coverage=view.coverage,
        acknowledged_sequence=acknowledged,
    )
    if view.emotion is not None and view.sentiment is not None:
        message.scores.sentiment = view.sentiment
        message.scores.emotions.extend(_emotions(view.emotion))
    return message


def _polarities(probabilities: NDArray[np.float32]) -> list[result_pb2.PolarityScore]:
    return [
        result_pb2.PolarityScore(polarity=polarity, probability=float(probability))
        for polarity, probability in zip(POLARITY, probabilities, strict=True)
    ]


def _emotions(probabilities: NDArray[np.float32]) -> list[result_pb2.EmotionScore]:
    return [
        result_pb2.EmotionScore(emotion=emotion, probability=float(probability))
        for emotion, probability in zip(EMOTION, probabilities, strict=True)
    ]
