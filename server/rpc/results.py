"""To the wire: results, as a session's configuration wants them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import result_pb2

from contract.timing import NS_PER_S
from server.live.events import Closed, Result, Timings
from server.rpc.enums import EMOTION, MODALITY, POLARITY, STATUS
from server.rpc.requests import ResultSettings
from server.session.fusion_input import FaceView, ModalityView
from server.session.messages import Modality
from server.session.pieces import Fused, WindowPlan


def to_duration(ns: int) -> Duration:
    """Return nanoseconds as a duration; both fields have the sign of `ns`."""
    seconds, nanos = divmod(abs(ns), NS_PER_S)
    return Duration(seconds=seconds, nanos=nanos) if ns >= 0 else Duration(seconds=-seconds, nanos=-nanos)


class ResultWriter:
    """Writes the results of one session."""

    def __init__(self, settings: ResultSettings) -> None:
        self._settings = settings

    def result(self, result: Result) -> result_pb2.SentimentResult:
        """Return the scores of a window or an utterance."""
        plan = result.plan
        scope = result_pb2.SCOPE_WINDOW if isinstance(plan, WindowPlan) else result_pb2.SCOPE_UTTERANCE
        message = self._message(scope, plan.index, result.fused, result.views, plan.acknowledged)
        message.revision = plan.revision
        message.is_final = plan.is_final
        message.start_offset.CopyFrom(to_duration(plan.start_ns))
        message.end_offset.CopyFrom(to_duration(plan.end_ns))
        message.faces.extend(map(self._face, result.faces))
        message.timings.CopyFrom(_timings(result.timings))
        return message

    def summary(self, closed: Closed) -> result_pb2.SentimentResult | None:
        """Return the scores of the session; None when no window had data."""
        if closed.summary is None:
            return None
        message = self._message(result_pb2.SCOPE_SESSION, 0, closed.summary.fused, closed.summary.views, {})
        message.is_final = True
        message.start_offset.CopyFrom(to_duration(0))
        message.end_offset.CopyFrom(to_duration(closed.end_ns))
        return message

    def _message(
        self,
        scope: "result_pb2.Scope.ValueType",
        index: int,
        fused: Fused | None,
        views: Mapping[Modality, ModalityView],
        acknowledged: Mapping[Modality, int],
    ) -> result_pb2.SentimentResult:
        message = result_pb2.SentimentResult(scope=scope, id=f"{_ID_PREFIX[scope]}{index}", index=index)
        if fused is not None:
            message.sentiment = fused.sentiment
            message.confidence = fused.confidence
            if self._settings.polarities:
                message.polarities.extend(map(_polarity, POLARITY, fused.polarity))
            if self._settings.emotions:
                message.emotions.extend(map(_emotion, EMOTION, fused.emotion))
        for number, modality in enumerate(Modality):
            part = self._modality(modality, views[modality])
            if fused is not None:
                part.contribution = float(fused.contribution[number])
            if modality in acknowledged:
                part.acknowledged_sequence = acknowledged[modality]
            message.modalities.append(part)
        return message

    def _modality(self, modality: Modality, view: ModalityView) -> result_pb2.ModalityResult:
        return result_pb2.ModalityResult(
            modality=MODALITY[modality],
            status=STATUS[view.status],
            coverage=view.coverage,
            scores=self._scores(view),
            embedding=view.embedding if self._settings.embeddings and view.embedding is not None else (),
        )

    def _face(self, view: FaceView) -> result_pb2.FaceResult:
        box = None if view.box is None else result_pb2.BoundingBox(**view.box._asdict())
        return result_pb2.FaceResult(
            face_id=view.face_id,
            is_speaker=view.is_speaker,
            box=box,
            coverage=view.coverage,
            scores=self._scores(view),
        )

    def _scores(self, view: ModalityView | FaceView) -> result_pb2.ModalityScores | None:
        if view.emotion is None or view.sentiment is None:
            return None
        emotions = map(_emotion, EMOTION, view.emotion) if self._settings.emotions else ()
        return result_pb2.ModalityScores(sentiment=view.sentiment, emotions=emotions)


_ID_PREFIX = {
    result_pb2.SCOPE_WINDOW: "window-",
    result_pb2.SCOPE_UTTERANCE: "utterance-",
    result_pb2.SCOPE_SESSION: "session-",
}


def _polarity(polarity: "result_pb2.Polarity.ValueType", probability: Any) -> result_pb2.PolarityScore:
    return result_pb2.PolarityScore(polarity=polarity, probability=float(probability))


def _emotion(emotion: "result_pb2.Emotion.ValueType", probability: Any) -> result_pb2.EmotionScore:
    return result_pb2.EmotionScore(emotion=emotion, probability=float(probability))


def _timings(timings: Timings) -> result_pb2.StageTimings:
    return result_pb2.StageTimings(
        decode=to_duration(timings.decode_ns),
        encode=to_duration(timings.encode_ns),
        fuse=to_duration(timings.fuse_ns),
        total=to_duration(timings.decode_ns + timings.encode_ns + timings.fuse_ns),
    )
