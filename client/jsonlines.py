"""The lines of `--json`: one object per answer of the server. The keys are stable; new ones may be added.

Every object has `type`. Times on the session clock are in seconds (`_s`), durations in milliseconds (`_ms`); what is
unset is null. Labels are keys, in the server's order.

    started    session_id, engine, models {name: version}
    resumed    requests_received (a lost connection was replaced)
    result     scope (window, utterance, session), id, index, revision, final, start_s, end_s, sentiment, confidence,
               polarities {}, emotions {}, timings_ms {decode, encode, fuse, total} or null,
               modalities {name: {status (used, missing, late, dropped), contribution, coverage, sentiment, emotions {},
               acknowledged_sequence}};
               of a session also words (those of the window's utterance so far) and latency_ms (since the window's last
               sample was to be sent; null unless in real time)
    rejected   modality, sequence, reason, message, field
    event      event, model, message
    closed     reason, results, totals {modality: {received, used, skipped, late, dropped, rejected, replaced}},
               summary (result), error {reason, message, field} or null
    clip       file, windows [result], utterances [result], summary, totals, rejected [], models {}      (`analyze`)
    info       target, version, engine, engine_reason, models [], emotions, polarities, modalities, limits {}  (`info`)
    error      code, message (the last line, when the run failed)
"""

from collections.abc import Iterable
from typing import Any

from moodstream.v1.clip_pb2 import AnalyzeClipResponse
from moodstream.v1.error_pb2 import Error
from moodstream.v1.result_pb2 import EmotionScore, ModalityResult, PolarityScore, SentimentResult, StageTimings
from moodstream.v1.service_pb2 import GetServerInfoResponse
from moodstream.v1.session_pb2 import (
    MediaRejected,
    ModalityTotals,
    ModelVersion,
    SessionClosed,
    SessionEvent,
    SessionResumed,
    SessionStarted,
)

from client.api import Message
from client.durations import NS_PER_MS, NS_PER_S, to_ns
from client.names import (
    close_reason_name,
    emotion_name,
    engine_name,
    error_reason_name,
    event_name,
    modality_name,
    polarity_name,
    scope_name,
    status_name,
)

Json = dict[str, Any]

_DIGITS = 6


def message_line(message: Message, *, words: str = "", latency_ns: int | None = None) -> Json:
    """Return the object of one answer of a session."""
    match message:
        case SessionStarted():
            models = _models(message.models)
            return {
                "type": "started",
                "session_id": message.session_id,
                "engine": engine_name(message.engine),
                "models": models,
            }
        case SessionResumed():
            return {"type": "resumed", "requests_received": message.requests_received}
        case SentimentResult():
            latency_ms = None if latency_ns is None else latency_ns / NS_PER_MS
            return {**result_line(message), "words": words, "latency_ms": latency_ms}
        case MediaRejected():
            return {"type": "rejected", **_rejected(message)}
        case SessionEvent():
            event = event_name(message.type)
            return {"type": "event", "event": event, "model": message.model or None, "message": message.message}
        case SessionClosed():
            return {
                "type": "closed",
                "reason": close_reason_name(message.reason),
                "results": message.results,
                "totals": _totals(message.totals),
                "summary": result_line(message.summary) if message.HasField("summary") else None,
                "error": _error(message.error) if message.HasField("error") else None,
            }


def result_line(result: SentimentResult) -> Json:
    """Return the object of one result."""
    return {
        "type": "result",
        "scope": scope_name(result.scope),
        "id": result.id,
        "index": result.index,
        "revision": result.revision,
        "final": result.is_final,
        "start_s": to_ns(result.start_offset) / NS_PER_S,
        "end_s": to_ns(result.end_offset) / NS_PER_S,
        "sentiment": round(result.sentiment, _DIGITS) if result.HasField("sentiment") else None,
        "confidence": round(result.confidence, _DIGITS) if result.HasField("confidence") else None,
        "polarities": _polarities(result.polarities),
        "emotions": _emotions(result.emotions),
        "modalities": {modality_name(m.modality): _modality(m) for m in result.modalities},
        "timings_ms": _timings(result.timings) if result.HasField("timings") else None,
    }


def clip_line(file: str, response: AnalyzeClipResponse) -> Json:
    """Return the object of an analysed clip."""
    return {
        "type": "clip",
        "file": file,
        "windows": [result_line(result) for result in response.windows],
        "utterances": [result_line(result) for result in response.utterances],
        "summary": result_line(response.summary) if response.HasField("summary") else None,
        "totals": _totals(response.totals),
        "rejected": [_rejected(rejected) for rejected in response.rejected],
        "models": _models(response.models),
    }


def info_line(target: str, info: GetServerInfoResponse) -> Json:
    """Return the object of the server's description."""
    limits = info.limits
    return {
        "type": "info",
        "target": target,
        "version": info.version,
        "engine": engine_name(info.engine),
        "engine_reason": info.engine_reason or None,
        "models": [
            {"name": m.name, "versions": list(m.versions), "ready": m.ready, "providers": list(m.providers)}
            for m in info.models
        ],
        "emotions": [emotion_name(one) for one in info.emotions],
        "polarities": [polarity_name(one) for one in info.polarities],
        "modalities": [modality_name(one) for one in info.modalities],
        "limits": {
            "max_audio_message_bytes": limits.max_audio_message_bytes,
            "max_video_message_bytes": limits.max_video_message_bytes,
            "max_text_message_bytes": limits.max_text_message_bytes,
            "max_sessions": limits.max_sessions,
            "max_clip_bytes": limits.max_clip_bytes,
            "max_clip_duration_s": to_ns(limits.max_clip_duration) / NS_PER_S,
            "max_session_duration_s": to_ns(limits.max_session_duration) / NS_PER_S,
            "max_chunk_duration_s": to_ns(limits.max_chunk_duration) / NS_PER_S,
            "idle_timeout_s": to_ns(limits.idle_timeout) / NS_PER_S,
            "max_gap_s": to_ns(limits.max_gap) / NS_PER_S,
        },
    }


def _emotions(scores: Iterable[EmotionScore]) -> dict[str, float]:
    return {emotion_name(score.emotion): round(score.probability, _DIGITS) for score in scores}


def _polarities(scores: Iterable[PolarityScore]) -> dict[str, float]:
    return {polarity_name(score.polarity): round(score.probability, _DIGITS) for score in scores}


def _modality(modality: ModalityResult) -> Json:
    has_scores = modality.HasField("scores")
    return {
        "status": status_name(modality.status),
        "contribution": round(modality.contribution, _DIGITS) if modality.HasField("contribution") else None,
        "coverage": round(modality.coverage, _DIGITS),
        "sentiment": round(modality.scores.sentiment, _DIGITS) if has_scores else None,
        "emotions": _emotions(modality.scores.emotions),
        "acknowledged_sequence": modality.acknowledged_sequence if modality.HasField("acknowledged_sequence") else None,
    }


def _timings(timings: StageTimings) -> dict[str, float]:
    stages = {"decode": timings.decode, "encode": timings.encode, "fuse": timings.fuse, "total": timings.total}
    return {stage: to_ns(duration) / NS_PER_MS for stage, duration in stages.items()}


def _totals(totals: Iterable[ModalityTotals]) -> dict[str, dict[str, int]]:
    return {
        modality_name(t.modality): {
            "received": t.received,
            "used": t.used,
            "skipped": t.skipped,
            "late": t.late,
            "dropped": t.dropped,
            "rejected": t.rejected,
            "replaced": t.replaced,
        }
        for t in totals
    }


def _rejected(rejected: MediaRejected) -> Json:
    return {
        "modality": modality_name(rejected.modality),
        "sequence": rejected.sequence if rejected.HasField("sequence") else None,
        **_error(rejected.error),
    }


def _error(error: Error) -> Json:
    return {"reason": error_reason_name(error.reason), "message": error.message, "field": error.field or None}


def _models(models: Iterable[ModelVersion]) -> dict[str, str]:
    return {model.model: model.version for model in models}
