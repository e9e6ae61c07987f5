"""Rules 5: faces."""

import cv2
import numpy as np
from moodstream.v1 import media_pb2, session_pb2

from tests.conformance.harness import JPEG, Peer, at, builtin, rule


def _frames(both: bool) -> list[media_pb2.VideoFrame]:
    """The portrait of the built-in clip; with another half as large to its right, where wanted."""
    _, media = builtin(audio=False)
    frames = [one for one in media if isinstance(one, media_pb2.VideoFrame)][:30]
    return [_widened(one) for one in frames] if both else frames


def _widened(frame: media_pb2.VideoFrame) -> media_pb2.VideoFrame:
    image = cv2.imdecode(np.frombuffer(frame.data, np.uint8), cv2.IMREAD_COLOR)
    second = cv2.resize(image[:, ::-1], None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    wide = np.full((image.shape[0], image.shape[1] + second.shape[1], 3), 90, np.uint8)
    wide[:, : image.shape[1]] = image
    wide[: second.shape[0], image.shape[1] :] = second
    data = cv2.imencode(".jpg", wide, (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes()
    return media_pb2.VideoFrame(sequence=frame.sequence, start_offset=frame.start_offset, data=data)


@rule("5.1")
async def a_face_keeps_its_number(peer: Peer) -> None:
    told = await peer.session(session_pb2.SessionConfig(video=JPEG), _frames(both=False))
    seen = [one.faces for one in told.windows if one.faces]
    assert len(seen) >= 4
    assert {face.face_id for faces in seen for face in faces} == {seen[0][0].face_id}
    for (face,) in seen:
        assert face.is_speaker
        assert face.HasField("scores")
        assert 0 < face.coverage <= 1
        assert 0.2 < face.box.left + face.box.width / 2 < 0.8
        assert face.box.height > 0.2


@rule("5.1", "5.2")
async def two_faces_of_which_one_speaks(peer: Peer) -> None:
    for nearest, is_left in ((None, True), (media_pb2.Point(x=0.85, y=0.3), False)):
        video = media_pb2.VideoConfig(encoding=JPEG.encoding, max_faces=2, face_nearest=nearest)
        told = await peer.session(session_pb2.SessionConfig(video=video, lateness=at(1)), _frames(both=True))
        both = [one.faces for one in told.windows if len(one.faces) == 2]
        assert len(both) >= 3
        for faces in both:
            assert [face.is_speaker for face in faces] == [True, False]
            assert faces[0].face_id != faces[1].face_id
            assert (faces[0].box.left < faces[1].box.left) == is_left
            assert all(face.HasField("scores") for face in faces)
    one_only = await peer.session(session_pb2.SessionConfig(video=JPEG), _frames(both=True))
    assert max(len(one.faces) for one in one_only.windows) == 1
