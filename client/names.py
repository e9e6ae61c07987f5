"""Short names of the wire's enums, as people and JSON have them: `MODALITY_AUDIO` is `audio`."""

from moodstream.v1.error_pb2 import ErrorReason
from moodstream.v1.media_pb2 import Modality
from moodstream.v1.result_pb2 import Emotion, ModalityStatus, Polarity, Scope
from moodstream.v1.session_pb2 import CloseReason, Engine, EventType


def modality_name(value: "Modality.ValueType") -> str:
    """Return `audio`, `video` or `text`."""
    return _short(Modality.Name(value), "MODALITY_")


def status_name(value: "ModalityStatus.ValueType") -> str:
    """Return `used`, `missing`, `late` or `dropped`."""
    return _short(ModalityStatus.Name(value), "MODALITY_STATUS_")


def scope_name(value: "Scope.ValueType") -> str:
    """Return `window`, `utterance` or `session`."""
    return _short(Scope.Name(value), "SCOPE_")


def emotion_name(value: "Emotion.ValueType") -> str:
    """Return the emotion, for example `happy`."""
    return _short(Emotion.Name(value), "EMOTION_")


def polarity_name(value: "Polarity.ValueType") -> str:
    """Return `negative`, `neutral` or `positive`."""
    return _short(Polarity.Name(value), "POLARITY_")


def engine_name(value: "Engine.ValueType") -> str:
    """Return `triton` or `onnxruntime`."""
    return _short(Engine.Name(value), "ENGINE_")


def event_name(value: "EventType.ValueType") -> str:
    """Return the event, for example `model_unavailable`."""
    return _short(EventType.Name(value), "EVENT_TYPE_")


def close_reason_name(value: "CloseReason.ValueType") -> str:
    """Return why a session closed, for example `client`."""
    return _short(CloseReason.Name(value), "CLOSE_REASON_")


def error_reason_name(value: "ErrorReason.ValueType") -> str:
    """Return the stable reason as `google.rpc.ErrorInfo` has it, for example `OFFSET_RUNS_BACK`."""
    return ErrorReason.Name(value).removeprefix("ERROR_REASON_")


def _short(full_name: str, prefix: str) -> str:
    return full_name.removeprefix(prefix).lower()
