"""To the wire: what a session says, as its client sees it."""

from collections.abc import Sequence

from moodstream.v1 import error_pb2, media_pb2, session_pb2

from contract.timing import NS_PER_S
from server.inference.engine import LoadedModel
from server.live.events import Closed, Event, Notice, Rejected, Result
from server.live.failures import Failure
from server.live.front import Front
from server.live.session import LiveSession
from server.rpc.enums import CLOSE_REASON, ENGINE, ERROR_REASON, EVENT_TYPE, MODALITY
from server.rpc.requests import DEFAULT_OUTPUTS
from server.rpc.results import ResultWriter, to_duration
from server.session.core import SessionSettings
from server.session.messages import Modality
from server.session.pieces import Totals
from server.settings import SessionLimits


def stream_response(event: Event, writer: ResultWriter) -> session_pb2.StreamSentimentResponse:
    """Return an event of a session as a response."""
    if isinstance(event, Result):
        return session_pb2.StreamSentimentResponse(result=writer.result(event))
    if isinstance(event, Rejected):
        return session_pb2.StreamSentimentResponse(rejected=rejected_message(event))
    if isinstance(event, Notice):
        return session_pb2.StreamSentimentResponse(event=notice_message(event))
    return session_pb2.StreamSentimentResponse(closed=closed_message(event, writer))


def effective_config(config: session_pb2.SessionConfig, settings: SessionSettings) -> session_pb2.SessionConfig:
    """Return the client's configuration with the defaults filled in."""
    effective = session_pb2.SessionConfig()
    effective.CopyFrom(config)
    effective.lateness.CopyFrom(to_duration(settings.lateness_ns))
    effective.results.interval.CopyFrom(to_duration(settings.interval_ns))
    if not effective.results.HasField("smoothing"):
        effective.results.smoothing.CopyFrom(to_duration(0))
    if not effective.results.outputs:
        effective.results.outputs.extend(sorted(DEFAULT_OUTPUTS))
    if settings.endpointing_ns is not None:
        effective.endpointing.speech_end_timeout.CopyFrom(to_duration(settings.endpointing_ns))
    if effective.HasField("audio") and not effective.audio.HasField("audio_channel_count"):
        effective.audio.audio_channel_count = 1
    if effective.HasField("video") and not effective.video.HasField("max_faces"):
        effective.video.max_faces = 1
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


def closed_message(closed: Closed, writer: ResultWriter) -> session_pb2.SessionClosed:
    """Return a session's end as the client sees it."""
    return session_pb2.SessionClosed(
        reason=CLOSE_REASON[closed.reason],
        totals=totals_messages(closed.totals),
        results=closed.results,
        summary=writer.summary(closed),
        error=None if closed.failure is None else error_message(closed.failure),
    )


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
            replaced=one.replaced,
        )
        for modality, one in totals.items()
    ]
