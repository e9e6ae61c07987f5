"""Rules 7: clips."""

import tempfile
from pathlib import Path

import grpc
from moodstream.v1 import clip_pb2, media_pb2, session_pb2

from client.builtin import write_mp4
from tests.conformance.harness import Peer, assert_same, at, builtin, failure_of, rule, span, statuses


@rule("7.1")
async def a_clip_gives_what_a_session_gives(peer: Peer) -> None:
    clip, media = builtin()
    told = await peer.session(clip.config, media)
    response = await peer.clip(clip.config, media)
    assert_same(list(response.windows), told.windows)
    assert_same(list(response.utterances), told.utterances)
    assert_same([response.summary], [told.closed.summary])


@rule("7.2")
async def one_modality_after_another(peer: Peer) -> None:
    clip, media = builtin()
    expected = await peer.clip(clip.config, media)
    kinds = [media_pb2.AudioChunk, media_pb2.TextSpan, session_pb2.EndOfUtterance, media_pb2.VideoFrame]
    for order in (kinds, kinds[::-1]):
        separate = [one for kind in order for one in media if isinstance(one, kind)]
        response = await peer.clip(clip.config, separate)
        assert_same(list(response.windows), list(expected.windows))
        assert_same(list(response.utterances), list(expected.utterances))
        assert [one.late for one in response.totals] == [0, 0, 0]


@rule("7.3")
async def a_media_file_with_its_words(peer: Peer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_mp4(path)
        data = path.read_bytes()
    file = clip_pb2.MediaFile(
        transcript=[span(0, 0.2, 1.2, "what a wonderful gift"), span(1, 3, 4, "I hate it")],
        utterance_ends=[at(1.5), at(4.2)],
        results=session_pb2.ResultConfig(interval=at(1)),
    )
    response = await peer.analyze(
        [
            clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(file=file)),
            *(clip_pb2.AnalyzeClipRequest(data=data[begin : begin + 65_536]) for begin in range(0, len(data), 65_536)),
        ]
    )
    assert [one.end_offset.seconds for one in response.windows[:4]] == [1, 2, 3, 4]
    wonderful, hate = response.utterances
    assert wonderful.sentiment > hate.sentiment
    assert statuses(wonderful) == statuses(hate) == ["USED"] * 3
    totals = {one.modality: one for one in response.totals}
    assert totals[media_pb2.MODALITY_TEXT].used == 2


@rule("7.4")
async def what_is_no_media_file(peer: Peer) -> None:
    config = clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(file=clip_pb2.MediaFile()))
    for data in (b"", b"this is no media file" * 100):
        failure = await failure_of(peer.analyze([config, clip_pb2.AnalyzeClipRequest(data=data)]))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MEDIA_UNDECODABLE")
