"""A stream, a recorded clip and a KServe batch give the same windows: they are the same models over the same pieces."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import media_pb2, result_pb2
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

from client import Clip, builtin_clip, open_clip
from client.clip import Media, stream_request
from contract.faces import FACE_SIZE
from contract.timing import CONTEXT_SAMPLES, HOP_SAMPLES, HOPS_PER_WINDOW, NS_PER_S, VIDEO_SLOTS
from server.media.faces import HaarDetector
from server.media.session_media import SessionMedia
from server.rpc import requests
from server.session.core import SessionCore
from server.session.messages import Close, EndOfModality, EndOfUtterance
from server.session.messages import Media as SessionMessage
from server.session.pieces import WindowPlan
from server.settings import SessionLimits

RATE = 16_000
GRID = "clips/grid_bbaf2n.mpg"


@pytest.fixture(scope="module", params=["builtin", pytest.param("grid", marks=pytest.mark.data)])
def clip(request) -> Clip:
    """The built-in clip, and a talking face of the GRID corpus."""
    if request.param == "builtin":
        return builtin_clip()
    if "MOODSTREAM_DATA" not in os.environ:
        pytest.skip("needs the research data: set MOODSTREAM_DATA")
    return open_clip(Path(os.environ["MOODSTREAM_DATA"]) / GRID, "bin blue at f two now")


@pytest.fixture(scope="module")
def media(clip: Clip) -> list[Media]:
    return [timed.media for timed in clip.open()]


def final_windows(responses) -> list[result_pb2.SentimentResult]:
    found = [response.result for response in responses if response.HasField("result")]
    return [one for one in found if one.is_final and one.scope == result_pb2.SCOPE_WINDOW]


def scores(window: result_pb2.SentimentResult) -> np.ndarray:
    return np.array(
        [
            window.sentiment,
            *(one.probability for one in window.polarities),
            *(one.probability for one in window.emotions),
            *(one.contribution for one in window.modalities),
        ]
    )


def assert_same(windows: Sequence[result_pb2.SentimentResult], others: Sequence[result_pb2.SentimentResult]) -> None:
    assert [one.index for one in windows] == [one.index for one in others]
    assert [[m.status for m in one.modalities] for one in windows] == [
        [m.status for m in one.modalities] for one in others
    ]
    np.testing.assert_allclose([scores(one) for one in windows], [scores(one) for one in others], atol=1e-3)


def rechunked(media: Sequence[Media], sizes_ms: Sequence[int]) -> list[Media]:
    """Cut the clip's audio anew, and order everything by the time at which it ends."""
    pcm = b"".join(one.data for one in media if isinstance(one, media_pb2.AudioChunk))
    timed: list[tuple[int, Media]] = []
    at = 0
    while at < len(pcm) // 2:
        count = sizes_ms[len(timed) % len(sizes_ms)] * RATE // 1000
        start = Duration()
        start.FromNanoseconds(at * NS_PER_S // RATE)
        data = pcm[2 * at : 2 * (at + count)]
        end_ns = (at + len(data) // 2) * NS_PER_S // RATE
        timed.append((end_ns, media_pb2.AudioChunk(sequence=len(timed), start_offset=start, data=data)))
        at += count
    for one in media:
        if isinstance(one, media_pb2.VideoFrame | media_pb2.TextSpan):
            timed.append((one.start_offset.ToNanoseconds(), one))
    return [one for _, one in sorted(timed, key=lambda pair: pair[0])]


def plans_of(config, media: Sequence[Media]) -> list[WindowPlan]:
    """Run the server's own decoding and core over a clip, without models, to get what they would be given."""
    limits = SessionLimits()
    core = SessionCore(requests.session_settings(config, limits))
    decoders = SessionMedia(requests.media_settings(config), HaarDetector(), limits.max_chunk_ns, limits.max_gap_ns)
    outputs = []
    items = [translated(one) for one in media]
    for item in [*items, Close()]:
        for ready in core.receive(item):
            decoded = decoders.decode(ready)
            if isinstance(ready, Close):
                outputs += core.deliver_close(decoded.samples, decoded.voice)
            elif isinstance(ready, EndOfModality):
                outputs += core.deliver_end_of_modality(ready, decoded.samples, decoded.voice)
            elif isinstance(ready, EndOfUtterance):
                outputs += core.deliver_end_of_utterance(ready)
            elif ready.modality == "audio":
                outputs += core.deliver_audio(ready, decoded.samples, decoded.reached_ns, decoded.voice)
            elif ready.modality == "video":
                outputs += core.deliver_faces(ready, decoded.faces)
            else:
                outputs += core.deliver_text(ready)
    return [output for output in outputs if isinstance(output, WindowPlan) and output.is_final]


def translated(media: Media) -> SessionMessage | EndOfModality | EndOfUtterance:
    if isinstance(media, media_pb2.AudioChunk):
        return requests.audio_media(media)
    if isinstance(media, media_pb2.VideoFrame):
        return requests.video_media(media)
    if isinstance(media, media_pb2.TextSpan):
        return requests.text_media(media)
    if hasattr(media, "offset"):
        return requests.end_of_utterance(media)
    (end,) = requests.Parser(SessionLimits())(stream_request(media)).items
    return end


def ensemble_inputs(plan: WindowPlan) -> dict[str, np.ndarray]:
    pcm = np.zeros(CONTEXT_SAMPLES + HOPS_PER_WINDOW * HOP_SAMPLES, np.float32)
    masks = np.zeros((HOPS_PER_WINDOW, 5), np.float32)
    for number, hop in enumerate(plan.hops):
        if hop is not None:
            # Each hop brings its second of context, so that the first one of the window fills what lies before it.
            pcm[number * HOP_SAMPLES : number * HOP_SAMPLES + len(hop.pcm)] = hop.pcm
            masks[number] = hop.mask
    faces = np.zeros((VIDEO_SLOTS, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    for number, face in enumerate(plan.faces):
        if face is not None:
            faces[number] = face.crop
    text = "" if plan.words is None else plan.words.text
    return {
        "PCM": pcm,
        "FACES": faces,
        "TEXT": np.array([text.encode()], np.object_),
        "AUDIO_MASK": masks.reshape(-1),
        "VIDEO_MASK": np.array([face is not None for face in plan.faces], np.float32),
    }


TYPES = {"float32": "FP32", "uint8": "UINT8", "object": "BYTES"}


async def test_stream_clip_and_ensemble_agree(triton_server, call, clip, media):
    caller = call(triton_server)
    streamed = final_windows(await caller.session(clip.config, media))
    recorded = list((await caller.clip(clip.config, media)).windows)
    assert_same(streamed, recorded)

    plans = plans_of(clip.config, media)
    assert [plan.index for plan in plans] == [window.index for window in streamed]
    client = InferenceServerClient(triton_server.address)
    batched = []
    for start in range(0, len(plans), 16):
        rows = [ensemble_inputs(plan) for plan in plans[start : start + 16]]
        tensors = []
        for name in rows[0]:
            stacked = np.stack([row[name] for row in rows])
            tensors.append(InferInput(name, list(stacked.shape), TYPES[str(stacked.dtype)]))
            tensors[-1].set_data_from_numpy(stacked)
        answer = await client.infer("moodstream", tensors)
        names = ("SENTIMENT", "POLARITY", "EMOTION", "CONTRIBUTION")
        batched.append(np.concatenate([answer.as_numpy(name) for name in names], axis=1))
    await client.close()
    np.testing.assert_allclose([scores(one) for one in streamed], np.concatenate(batched), atol=1e-3)


@pytest.mark.parametrize("sizes_ms", [[10], [100, 20, 33], [250]])
async def test_chunk_sizes_do_not_change_the_results(triton_server, call, clip, media, sizes_ms):
    caller = call(triton_server)
    expected = (await caller.clip(clip.config, rechunked(media, [50]))).windows
    assert_same(expected, final_windows(await caller.session(clip.config, rechunked(media, sizes_ms))))


async def test_chunks_of_a_second_do_not_change_the_results(triton_server, call, clip, media):
    """They are sent when they begin: at their end they would be later than the lateness."""
    caller = call(triton_server)
    expected = (await caller.clip(clip.config, rechunked(media, [50]))).windows
    order = sorted(rechunked(media, [1000]), key=lambda one: one.start_offset.ToNanoseconds())
    assert_same(expected, final_windows(await caller.session(clip.config, order)))


@pytest.mark.parametrize("seed", range(3))
async def test_order_within_the_lateness_does_not_change_the_results(triton_server, call, clip, media, seed):
    caller = call(triton_server)
    in_order = rechunked(media, [40])
    expected = (await caller.clip(clip.config, in_order)).windows
    delay = np.random.default_rng(seed)
    late = {
        id(one): one.start_offset.ToNanoseconds()
        + (0 if isinstance(one, media_pb2.TextSpan) else int(delay.integers(0, 200_000_000)))
        for one in in_order
    }
    responses = await caller.session(clip.config, sorted(in_order, key=lambda one: late[id(one)]))
    assert_same(expected, final_windows(responses))
    assert [totals.late for totals in responses[-1].closed.totals] == [0, 0, 0]
