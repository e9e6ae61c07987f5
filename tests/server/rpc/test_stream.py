import asyncio
import io

import av
import cv2
import grpc
import numpy as np
import pytest
import soundfile as sf
from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import error_pb2, media_pb2, result_pb2, session_pb2
from moodstream.v1.session_pb2 import StreamSentimentRequest as Request

from client.clip import stream_request
from server.session.core import SessionCore

RATE = 16_000
AUDIO = session_pb2.SessionConfig(
    audio=media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=RATE)
)
VIDEO = session_pb2.SessionConfig(video=media_pb2.VideoConfig(encoding=media_pb2.VIDEO_ENCODING_JPEG))


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(value * 1e9))
    return duration


def tone(length_s: float) -> np.ndarray:
    return (8000 * np.sin(np.arange(int(length_s * RATE)) / 9)).astype("<i2")


def audio(sequence: int, start_s: float, data: bytes) -> media_pb2.AudioChunk:
    return media_pb2.AudioChunk(sequence=sequence, start_offset=seconds(start_s), data=data)


def frame(sequence: int, start_s: float, data: bytes) -> media_pb2.VideoFrame:
    return media_pb2.VideoFrame(sequence=sequence, start_offset=seconds(start_s), data=data)


def results(responses, final=True):
    found = [response.result for response in responses if response.HasField("result")]
    return [one for one in found if one.scope == result_pb2.SCOPE_WINDOW and one.is_final == final]


def rejections(responses):
    return [response.rejected for response in responses if response.HasField("rejected")]


def statuses(result):
    return [result_pb2.ModalityStatus.Name(one.status).rsplit("_", 1)[1] for one in result.modalities]


async def test_a_session_from_start_to_totals(onnx_server, call, clip, media):
    responses = await call(onnx_server).session(clip.config, media)
    started, closed = responses[0].started, responses[-1].closed
    assert started.engine == session_pb2.ENGINE_ONNXRUNTIME
    assert started.config.lateness.nanos == 300_000_000
    assert {model.model for model in started.models} >= {"audio_encoder", "video_encoder", "text_encoder", "fusion"}
    windows = results(responses)
    assert [window.index for window in windows] == list(range(len(windows)))
    assert windows[-1].end_offset.ToNanoseconds() >= clip.duration_ns - 1
    for window in windows:
        assert -1 <= window.sentiment <= 1
        assert sum(score.probability for score in window.polarities) == pytest.approx(1, abs=1e-4)
        assert sum(score.probability for score in window.emotions) == pytest.approx(1, abs=1e-4)
        assert sum(one.contribution for one in window.modalities) == pytest.approx(1, abs=1e-4)
        assert window.confidence == pytest.approx(max(score.probability for score in window.polarities))
    assert statuses(windows[5]) == ["USED", "USED", "USED"]
    assert closed.reason == session_pb2.CLOSE_REASON_CLIENT
    assert closed.summary.scope == result_pb2.SCOPE_SESSION
    for totals in closed.totals:
        fates = totals.used + totals.skipped + totals.late + totals.dropped + totals.rejected
        assert totals.received == fates > 0
    assert closed.results == len(results(responses)) + len(results(responses, final=False))


async def test_utterances_have_results_of_their_own(onnx_server, call):
    config = session_pb2.SessionConfig(audio=AUDIO.audio, text=media_pb2.TextConfig())
    word = media_pb2.TextSpan(sequence=0, start_offset=seconds(0.1), duration=seconds(0.3), text="wonderful")
    end = session_pb2.EndOfUtterance(offset=seconds(1.2))
    responses = await call(onnx_server).session(config, [word, end, audio(0, 0, tone(2.5).tobytes())])
    utterances = [
        response.result
        for response in responses
        if response.HasField("result") and response.result.scope == result_pb2.SCOPE_UTTERANCE
    ]
    assert {(one.id, one.start_offset.ToMilliseconds(), one.end_offset.ToMilliseconds()) for one in utterances} == {
        ("utterance-0", 100, 1200)
    }
    assert [one.is_final for one in utterances] == [False] * (len(utterances) - 1) + [True]
    assert [one.revision for one in utterances] == list(range(len(utterances)))
    assert statuses(utterances[-1]) == ["USED", "MISSING", "USED"]
    assert utterances[-1].HasField("sentiment")


@pytest.mark.parametrize("kept", ["audio", "video", "text"])
async def test_one_modality_alone_gets_an_answer_per_window(onnx_server, call, clip, media, kept):
    config = session_pb2.SessionConfig()
    getattr(config, kept).CopyFrom(getattr(clip.config, kept))
    own = [one for one in media if stream_request(one).WhichOneof("request") == kept]
    windows = results(await call(onnx_server).session(config, own))
    assert [window.index for window in windows] == list(range(len(windows)))
    assert len(windows) > 10
    position = ["audio", "video", "text"].index(kept)
    for window in windows[4:-1]:
        expected = ["MISSING"] * 3
        expected[position] = "USED"
        assert statuses(window) == expected
        assert window.modalities[position].contribution == pytest.approx(1, abs=1e-4)
        assert window.HasField("sentiment")


async def test_nothing_for_a_while_gives_windows_without_a_sentiment(onnx_server, call):
    media = [audio(0, 0, tone(0.5).tobytes()), audio(1, 6, tone(0.5).tobytes())]
    windows = results(await call(onnx_server).session(AUDIO, media))
    assert len(windows) == 13
    assert [window.HasField("sentiment") for window in windows] == [True] * 8 + [False] * 4 + [True]
    assert statuses(windows[5]) == ["MISSING"] * 3
    assert windows[5].modalities[0].coverage == pytest.approx(5 / 30)


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([], "the stream ended before its config"),
        ([Request(audio=audio(0, 0, b"12"))], "the first message must be config or resume, got audio"),
        ([Request()], "got an empty request"),
        ([Request(config=session_pb2.SessionConfig())], "at least one of audio, video and text"),
        (
            [Request(config=session_pb2.SessionConfig(audio=media_pb2.AudioConfig(sample_rate_hertz=RATE)))],
            "config.audio.encoding 0 is unknown: expected PCM_S16LE",
        ),
        (
            [
                Request(
                    config=session_pb2.SessionConfig(audio=media_pb2.AudioConfig(encoding=77, sample_rate_hertz=RATE))  # type: ignore[arg-type]
                )
            ],
            "config.audio.encoding 77 is unknown",
        ),
        (
            [
                Request(
                    config=session_pb2.SessionConfig(
                        audio=media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_MULAW, sample_rate_hertz=100)
                    )
                )
            ],
            "config.audio: audio sample rate must be 8000 to 48000 Hz, got 100",
        ),
        (
            [Request(config=session_pb2.SessionConfig(audio=AUDIO.audio, lateness=seconds(6)))],
            "config.lateness is 6 s: expected 0 to 5 s",
        ),
    ],
)
async def test_a_bad_start_ends_the_call_with_a_sentence(onnx_server, call, requests, said):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(onnx_server).stream(requests)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in error.value.details()


def bad_audio() -> dict[str, tuple[media_pb2.AudioConfig, bytes, str]]:
    flac = io.BytesIO()
    sf.write(flac, tone(0.5), RATE, format="FLAC")
    f32 = tone(0.1).astype("<f4") / 32768
    f32[17] = np.nan
    pcm, floats = media_pb2.AUDIO_ENCODING_PCM_S16LE, media_pb2.AUDIO_ENCODING_PCM_F32LE
    return {
        "truncated FLAC": (
            media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_FLAC, sample_rate_hertz=RATE),
            flac.getvalue()[:-200],
            "FLAC",
        ),
        "NaN": (media_pb2.AudioConfig(encoding=floats, sample_rate_hertz=RATE), f32.tobytes(), "sample 17"),
        "odd bytes": (media_pb2.AudioConfig(encoding=pcm, sample_rate_hertz=RATE), b"123", "3 bytes"),
        "10 MB": (media_pb2.AudioConfig(encoding=pcm, sample_rate_hertz=RATE), bytes(10_000_000), "10000000 bytes"),
        "empty": (media_pb2.AudioConfig(encoding=pcm, sample_rate_hertz=RATE), b"", "audio"),
    }


@pytest.mark.parametrize("kind", bad_audio())
async def test_bad_audio_is_rejected_and_the_session_goes_on(onnx_server, call, kind):
    audio_config, data, said = bad_audio()[kind]
    config = session_pb2.SessionConfig(audio=audio_config, text=media_pb2.TextConfig())
    word = media_pb2.TextSpan(sequence=0, start_offset=seconds(0.1), duration=seconds(1), text="still here")
    responses = await call(onnx_server).session(config, [audio(0, 0, data), word])
    (rejected,) = rejections(responses)
    assert (rejected.modality, rejected.sequence) == (media_pb2.MODALITY_AUDIO, 0)
    too_large = error_pb2.ERROR_REASON_MESSAGE_TOO_LARGE
    undecodable = error_pb2.ERROR_REASON_MEDIA_UNDECODABLE
    assert rejected.error.reason == (too_large if kind == "10 MB" else undecodable)
    assert rejected.error.field == "audio.data"
    assert said in rejected.error.message
    assert statuses(results(responses)[-1]) == ["MISSING", "MISSING", "USED"]
    assert responses[-1].closed.totals[0].rejected == 1


async def test_offsets_that_run_back_are_rejected(onnx_server, call):
    media = [audio(0, 0, tone(1).tobytes()), audio(1, 0.5, tone(0.5).tobytes()), audio(2, 1, tone(1).tobytes())]
    responses = await call(onnx_server).session(AUDIO, media)
    (rejected,) = rejections(responses)
    assert rejected.sequence == 1
    assert "0.5 s runs back" in rejected.error.message
    assert [statuses(window)[0] for window in results(responses)] == ["USED"] * 4


async def test_a_corrupt_image_is_rejected_and_the_next_frame_takes_its_slot(onnx_server, call, media):
    frames = [one for one in media if isinstance(one, media_pb2.VideoFrame)][:6]
    frames[2] = frame(frames[2].sequence, frames[2].start_offset.ToNanoseconds() / 1e9, frames[2].data[:200])
    responses = await call(onnx_server).session(VIDEO, frames)
    (rejected,) = rejections(responses)
    assert (rejected.modality, rejected.sequence) == (media_pb2.MODALITY_VIDEO, 2)
    assert statuses(results(responses)[0])[1] == "USED"
    totals = responses[-1].closed.totals[1]
    assert (totals.received, totals.rejected, totals.used) == (6, 1, 3)


async def test_a_second_config_and_an_empty_request_are_rejected(onnx_server, call):
    requests = [
        Request(config=AUDIO),
        Request(config=AUDIO),
        Request(),
        Request(video=frame(0, 0, b"x")),
        Request(audio=audio(0, 0, tone(0.5).tobytes())),
    ]
    responses = await call(onnx_server).stream(requests)
    assert [rejected.error.message for rejected in rejections(responses)] == [
        "config is not expected here: it comes once, first",
        "the request is empty: expected one of its fields to be set",
        "video was not configured for this session",
    ]
    assert len(results(responses)) == 1


async def test_a_hostile_session_does_not_disturb_its_neighbour(onnx_server, call, clip, media):
    caller = call(onnx_server)
    alone = await caller.session(clip.config, media)
    garbage = np.random.default_rng(0).bytes(5000)
    hostile = [
        one
        for number in range(60)
        for one in (audio(number, number * 0.1, garbage[: 999 + number]), frame(number, number * 0.1, garbage))
    ]
    config = session_pb2.SessionConfig(audio=AUDIO.audio, video=VIDEO.video)
    neighbour, noise = await asyncio.gather(caller.session(clip.config, media), caller.session(config, hostile))
    assert len(rejections(noise)) > 60
    for one, other in zip(results(alone), results(neighbour), strict=True):
        assert one.sentiment == pytest.approx(other.sentiment, abs=1e-4)
        assert statuses(one) == statuses(other)


async def test_a_defect_ends_its_own_session_with_internal(onnx_server, call, clip, media, monkeypatch):
    caller = call(onnx_server)
    deliver = SessionCore.deliver_text

    def broken(core, message):
        if message.data == b"break":
            raise RuntimeError("a defect")
        return deliver(core, message)

    monkeypatch.setattr(SessionCore, "deliver_text", broken)
    word = media_pb2.TextSpan(sequence=0, text="break")
    config = session_pb2.SessionConfig(text=media_pb2.TextConfig())
    neighbour, failed = await asyncio.gather(
        caller.session(clip.config, media), caller.session(config, [word]), return_exceptions=True
    )
    assert (failed.code(), failed.details()) == (grpc.StatusCode.INTERNAL, "the session failed in the server")
    assert neighbour[-1].closed.reason == session_pb2.CLOSE_REASON_CLIENT
    assert onnx_server.front.sessions == {}


async def test_a_client_that_leaves_takes_its_session_with_it(onnx_server, call, clip, media):
    stream = call(onnx_server).stub.StreamSentiment()
    await stream.write(Request(config=clip.config))
    assert (await stream.read()).HasField("started")
    for one in media[:20]:
        await stream.write(stream_request(one))
    assert len(onnx_server.front.sessions) == 1
    stream.cancel()
    async with asyncio.timeout(5):
        while onnx_server.front.sessions:
            await asyncio.sleep(0.01)


async def test_opus_packets_and_png_images(onnx_server, call):
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.open()
    samples = (8000 * np.sin(np.arange(48_000) / 20)).astype(np.int16)
    packets = []
    for start in range(0, len(samples), 960):
        piece = av.AudioFrame.from_ndarray(samples[None, start : start + 960], format="s16", layout="mono")
        piece.sample_rate = 48_000
        packets += [bytes(packet) for packet in encoder.encode(piece)]
    png = cv2.imencode(".png", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    config = session_pb2.SessionConfig(
        audio=media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_OPUS, sample_rate_hertz=48_000),
        video=media_pb2.VideoConfig(encoding=media_pb2.VIDEO_ENCODING_PNG, face_crop=True),
    )
    media = [audio(number, number * 0.02, packet) for number, packet in enumerate(packets)]
    media += [frame(number, number * 0.2, png) for number in range(5)]
    media.sort(key=lambda one: one.start_offset.ToNanoseconds())
    responses = await call(onnx_server).session(config, media)
    assert rejections(responses) == []
    assert [statuses(window)[:2] for window in results(responses)][:2] == [["USED", "USED"]] * 2
