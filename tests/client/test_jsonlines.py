import json

from moodstream.v1.clip_pb2 import AnalyzeClipResponse
from moodstream.v1.error_pb2 import ERROR_REASON_MEDIA_UNDECODABLE, Error
from moodstream.v1.media_pb2 import MODALITY_AUDIO, MODALITY_TEXT, MODALITY_VIDEO
from moodstream.v1.result_pb2 import (
    EMOTION_HAPPY,
    EMOTION_SAD,
    MODALITY_STATUS_MISSING,
    MODALITY_STATUS_USED,
    POLARITY_NEGATIVE,
    POLARITY_POSITIVE,
    SCOPE_WINDOW,
    EmotionScore,
    ModalityResult,
    ModalityScores,
    PolarityScore,
    SentimentResult,
    StageTimings,
)
from moodstream.v1.service_pb2 import GetServerInfoResponse, ModelInfo
from moodstream.v1.session_pb2 import (
    CLOSE_REASON_CLIENT,
    ENGINE_TRITON,
    EVENT_TYPE_MODEL_UNAVAILABLE,
    Limits,
    MediaRejected,
    ModalityTotals,
    ModelVersion,
    SessionClosed,
    SessionEvent,
    SessionStarted,
)

from client.durations import to_duration
from client.jsonlines import clip_line, info_line, message_line

MS = 1_000_000
RESULT = SentimentResult(
    scope=SCOPE_WINDOW,
    id="window-3",
    index=3,
    revision=1,
    is_final=True,
    start_offset=to_duration(0),
    end_offset=to_duration(2000 * MS),
    sentiment=0.5,
    confidence=0.75,
    polarities=[
        PolarityScore(polarity=POLARITY_NEGATIVE, probability=0.25),
        PolarityScore(polarity=POLARITY_POSITIVE, probability=0.75),
    ],
    emotions=[EmotionScore(emotion=EMOTION_HAPPY, probability=1.0)],
    modalities=[
        ModalityResult(
            modality=MODALITY_AUDIO,
            status=MODALITY_STATUS_USED,
            contribution=1.0,
            coverage=0.5,
            scores=ModalityScores(sentiment=-0.5, emotions=[EmotionScore(emotion=EMOTION_SAD, probability=1.0)]),
            acknowledged_sequence=0,
        ),
        ModalityResult(modality=MODALITY_TEXT, status=MODALITY_STATUS_MISSING),
    ],
    timings=StageTimings(
        decode=to_duration(MS), encode=to_duration(2 * MS), fuse=to_duration(0), total=to_duration(3 * MS)
    ),
)
RESULT_LINE = {
    "type": "result",
    "scope": "window",
    "id": "window-3",
    "index": 3,
    "revision": 1,
    "final": True,
    "start_s": 0.0,
    "end_s": 2.0,
    "sentiment": 0.5,
    "confidence": 0.75,
    "polarities": {"negative": 0.25, "positive": 0.75},
    "emotions": {"happy": 1.0},
    "modalities": {
        "audio": {
            "status": "used",
            "contribution": 1.0,
            "coverage": 0.5,
            "sentiment": -0.5,
            "emotions": {"sad": 1.0},
            "acknowledged_sequence": 0,
        },
        "text": {
            "status": "missing",
            "contribution": None,
            "coverage": 0.0,
            "sentiment": None,
            "emotions": {},
            "acknowledged_sequence": None,
        },
    },
    "timings_ms": {"decode": 1.0, "encode": 2.0, "fuse": 0.0, "total": 3.0},
}


def test_result():
    line = message_line(RESULT, words="so far", latency_ns=41_500_000)
    assert line == {**RESULT_LINE, "words": "so far", "latency_ms": 41.5}
    assert json.loads(json.dumps(line, allow_nan=False)) == line


def test_a_window_without_data_is_null_not_zero():
    line = message_line(SentimentResult(scope=SCOPE_WINDOW))
    unset = ("sentiment", "confidence", "timings_ms", "latency_ms")
    assert [line[key] for key in unset] == [None] * 4
    assert (line["polarities"], line["emotions"], line["modalities"]) == ({}, {}, {})


def test_started():
    started = SessionStarted(session_id="a1", engine=ENGINE_TRITON, models=[ModelVersion(model="fusion", version="2")])
    assert message_line(started) == {
        "type": "started",
        "session_id": "a1",
        "engine": "triton",
        "models": {"fusion": "2"},
    }


def test_rejected():
    error = Error(reason=ERROR_REASON_MEDIA_UNDECODABLE, message="not a JPEG", field="video.data")
    rejected = MediaRejected(modality=MODALITY_VIDEO, sequence=7, error=error)
    what = {"modality": "video", "sequence": 7}
    why = {"reason": "MEDIA_UNDECODABLE", "message": "not a JPEG", "field": "video.data"}
    assert message_line(rejected) == {"type": "rejected", **what, **why}
    assert message_line(MediaRejected(error=error))["sequence"] is None


def test_event():
    event = SessionEvent(type=EVENT_TYPE_MODEL_UNAVAILABLE, model="fusion", message="restarting")
    expected = {"type": "event", "event": "model_unavailable", "model": "fusion", "message": "restarting"}
    assert message_line(event) == expected


TOTALS = ModalityTotals(
    modality=MODALITY_AUDIO, received=9, used=4, skipped=2, late=1, dropped=1, rejected=1, replaced=3
)
TOTALS_LINE = {"audio": {"received": 9, "used": 4, "skipped": 2, "late": 1, "dropped": 1, "rejected": 1, "replaced": 3}}


def test_closed():
    closed = SessionClosed(reason=CLOSE_REASON_CLIENT, results=5, totals=[TOTALS], summary=RESULT)
    expected = {"type": "closed", "reason": "client", "results": 5, "totals": TOTALS_LINE, "summary": RESULT_LINE}
    assert message_line(closed) == {**expected, "error": None}
    assert message_line(SessionClosed())["summary"] is None
    assert message_line(SessionClosed(error=Error(message="broken")))["error"]["message"] == "broken"


def test_clip():
    response = AnalyzeClipResponse(windows=[RESULT], summary=RESULT, totals=[TOTALS])
    line = clip_line("a.mp4", response)
    assert line["windows"] == [RESULT_LINE]
    assert line["summary"] == RESULT_LINE
    assert line["totals"] == TOTALS_LINE
    assert set(line) == {"type", "file", "windows", "utterances", "summary", "totals", "rejected", "models"}


def test_info():
    info = GetServerInfoResponse(
        version="0.1.0",
        engine=ENGINE_TRITON,
        models=[ModelInfo(name="fusion", versions=["1"], ready=True, providers=["CPUExecutionProvider"])],
        limits=Limits(max_sessions=4, idle_timeout=to_duration(30_000 * MS)),
    )
    line = info_line("localhost:1", info)
    assert line["engine_reason"] is None
    assert line["models"] == [
        {"name": "fusion", "versions": ["1"], "ready": True, "providers": ["CPUExecutionProvider"]}
    ]
    assert line["limits"]["max_sessions"] == 4
    assert line["limits"]["idle_timeout_s"] == 30.0
