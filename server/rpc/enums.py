"""The session's own names and the numbers that the wire has for them."""

from moodstream.v1 import error_pb2, media_pb2, result_pb2, session_pb2

from contract.labels import EMOTIONS, POLARITIES
from server.live.events import CloseReason, NoticeType
from server.media.audio_codecs import AudioEncoding
from server.media.video import VideoEncoding
from server.session.messages import Modality
from server.session.pieces import Status
from server.session.reasons import Reason

MODALITY = {one: media_pb2.Modality.Value(f"MODALITY_{one.upper()}") for one in Modality}
MODALITY_OF = {value: modality for modality, value in MODALITY.items()}
AUDIO_ENCODING_OF = {media_pb2.AudioEncoding.Value(f"AUDIO_ENCODING_{one.name}"): one for one in AudioEncoding}
VIDEO_ENCODING_OF = {media_pb2.VideoEncoding.Value(f"VIDEO_ENCODING_{one.name}"): one for one in VideoEncoding}
STATUS = {one: result_pb2.ModalityStatus.Value(f"MODALITY_STATUS_{one.upper()}") for one in Status}
CLOSE_REASON = {one: session_pb2.CloseReason.Value(f"CLOSE_REASON_{one.upper()}") for one in CloseReason}
EVENT_TYPE = {one: session_pb2.EventType.Value(f"EVENT_TYPE_{one.upper()}") for one in NoticeType}
ERROR_REASON = {one: error_pb2.ErrorReason.Value(f"ERROR_REASON_{one}") for one in Reason}
EMOTION = [result_pb2.Emotion.Value(f"EMOTION_{label.upper()}") for label in EMOTIONS]
"""In the models' order."""
POLARITY = [result_pb2.Polarity.Value(f"POLARITY_{label.upper()}") for label in POLARITIES]
"""In the models' order."""
ENGINE = {
    "triton": session_pb2.ENGINE_TRITON,
    "onnxruntime": session_pb2.ENGINE_ONNXRUNTIME,
}
