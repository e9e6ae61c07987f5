from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import clip_pb2, media_pb2, result_pb2
from moodstream.v1.clip_pb2 import AnalyzeClipRequest as Request

from client.builtin import write_mp4


@pytest.fixture(scope="session")
def mp4(tmp_path_factory) -> bytes:
    """The built-in clip as a file."""
    path: Path = tmp_path_factory.mktemp("clip") / "builtin.mp4"
    write_mp4(path)
    return path.read_bytes()


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(value * 1e9))
    return duration


async def analyze(caller, requests) -> clip_pb2.AnalyzeClipResponse:
    async def all_requests() -> AsyncIterator[Request]:
        for request in requests:
            yield request

    return await caller.stub.AnalyzeClip(all_requests())


def file_requests(data: bytes, file: clip_pb2.MediaFile | None = None) -> list[Request]:
    config = clip_pb2.ClipConfig(file=file or clip_pb2.MediaFile())
    pieces = [data[start : start + 100_000] for start in range(0, len(data), 100_000)]
    return [Request(config=config), *(Request(data=piece) for piece in pieces)]


async def test_a_media_file_with_its_words(onnx_server, call, mp4):
    file = clip_pb2.MediaFile(
        transcript=[
            media_pb2.TextSpan(sequence=0, start_offset=seconds(0.2), duration=seconds(0.5), text="what a wonderful"),
            media_pb2.TextSpan(sequence=1, start_offset=seconds(0.8), duration=seconds(0.4), text="gift"),
        ],
        utterance_ends=[seconds(1.5)],
    )
    response = await analyze(call(onnx_server), file_requests(mp4, file))
    # Nine seconds, and what the audio encoder of the file padded.
    assert [window.index for window in response.windows] == list(range(len(response.windows)))
    assert len(response.windows) in (18, 19)
    used = result_pb2.MODALITY_STATUS_USED
    assert [[one.status == used for one in window.modalities] for window in response.windows[:4]] == [
        [True, True, True],
        [True, True, True],
        [True, True, True],
        # The words of an utterance that has just ended are still within the window's reach.
        [True, True, True],
    ]
    (utterance,) = response.utterances
    assert (utterance.start_offset.ToMilliseconds(), utterance.end_offset.ToMilliseconds()) == (200, 1500)
    assert [one.status for one in utterance.modalities] == [used] * 3
    assert response.summary.HasField("sentiment")
    assert not response.rejected
    for totals in response.totals:
        assert totals.received == totals.used + totals.skipped


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([], "the first message must be config"),
        ([Request(data=b"x")], "the first message must be config"),
        ([Request(config=clip_pb2.ClipConfig())], "with either file or session set"),
        (file_requests(b""), "clip"),
        (file_requests(b"this is no media file" * 100), "clip"),
        (
            [Request(config=clip_pb2.ClipConfig(file=clip_pb2.MediaFile())), Request(text=media_pb2.TextSpan())],
            "only data is expected, got text",
        ),
    ],
)
async def test_what_is_no_clip_is_refused_with_a_sentence(onnx_server, call, requests, said):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await analyze(call(onnx_server), requests)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in error.value.details()


async def test_a_truncated_file_is_refused(onnx_server, call, mp4):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await analyze(call(onnx_server), file_requests(mp4[: len(mp4) // 2]))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert onnx_server.front.sessions == {}
