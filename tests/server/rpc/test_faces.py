"""Two people before one camera."""

import cv2
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import media_pb2, result_pb2, session_pb2
from skimage import data


def frames(seconds: float, leaves_after: float) -> list[media_pb2.VideoFrame]:
    """Two portraits beside each other, the right one smaller; the left one leaves after a while."""
    portrait = data.astronaut()[0:300, 60:400]
    small = cv2.resize(portrait[:, ::-1], None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    both = np.full((300, 680, 3), 90, np.uint8)
    both[40:280, 374:646] = small
    alone = both.copy()
    both[:, :340] = portrait
    messages = []
    for number in range(round(seconds * 5)):
        offset = Duration()
        offset.FromNanoseconds(number * 200_000_000)
        picture = both if number < leaves_after * 5 else alone
        encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
        messages.append(media_pb2.VideoFrame(sequence=number, start_offset=offset, data=encoded.tobytes()))
    return messages


def configured(**video: object) -> session_pb2.SessionConfig:
    config = media_pb2.VideoConfig(encoding=media_pb2.VIDEO_ENCODING_JPEG, **video)  # type: ignore[arg-type]
    return session_pb2.SessionConfig(video=config)


async def windows(caller, config: session_pb2.SessionConfig, **scene: float) -> list[result_pb2.SentimentResult]:
    responses = await caller.session(config, frames(**scene))
    return [one.result for one in responses if one.HasField("result") and one.result.is_final]


async def test_each_face_is_scored_and_one_is_the_speakers(onnx_server, call) -> None:
    found = await windows(call(onnx_server), configured(max_faces=2), seconds=3, leaves_after=3)
    last = found[-1]
    speaker, other = last.faces
    assert (speaker.face_id, speaker.is_speaker) == (0, True)
    assert (other.face_id, other.is_speaker) == (1, False)
    assert speaker.box.width > other.box.width
    assert speaker.box.left < 0.5 < other.box.left
    assert min(speaker.coverage, other.coverage) > 0.9
    video = next(one for one in last.modalities if one.modality == media_pb2.MODALITY_VIDEO)
    assert video.scores.sentiment == pytest.approx(speaker.scores.sentiment)
    assert video.scores.sentiment != pytest.approx(other.scores.sentiment)


async def test_the_client_says_whose_face_counts(onnx_server, call) -> None:
    config = configured(face_nearest=media_pb2.Point(x=0.8, y=0.4))
    (face,) = (await windows(call(onnx_server), config, seconds=2, leaves_after=2))[-1].faces
    assert face.is_speaker
    assert face.box.left > 0.5


async def test_when_the_speaker_leaves_the_other_face_keeps_its_number_and_speaks(onnx_server, call) -> None:
    found = await windows(call(onnx_server), configured(max_faces=2), seconds=9, leaves_after=2)
    (face,) = found[-1].faces
    assert (face.face_id, face.is_speaker) == (1, True)
