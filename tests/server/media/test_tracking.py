import numpy as np
import pytest
from numpy.typing import NDArray

from contract.timing import NS_PER_S
from server.media.faces import Box
from server.media.tracking import IDLE_SEARCH_NS, KEEP_NS, LOOK_AROUND_NS, SEARCH_NS, FaceTracker

Image = NDArray[np.uint8]
PICTURE = np.zeros((480, 640, 3), np.uint8)
SLOT_NS = 200_000_000


class Scene:
    """A detector that sees the boxes that a test puts before it, and counts how often it looks."""

    def __init__(self) -> None:
        self.faces: list[Box] = []
        self.turned_away = False
        self.scans: list[bool] = []
        self.looks_near = 0

    def scan(self, picture: Image, fine: bool) -> list[Box]:
        self.scans.append(fine)
        return [] if self.turned_away else [box for box in self.faces if (box.width < 100) == fine]

    def near(self, picture: Image, last: Box) -> Box | None:
        self.looks_near += 1
        close = [] if self.turned_away else [box for box in self.faces if box.overlap(last) > 0.3]
        return max(close, key=last.overlap, default=None)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def speaker(tracker: FaceTracker, time_ns: int, picture: Image = PICTURE) -> Box | None:
    faces = tracker.find(time_ns, picture)
    assert [face.is_speaker for face in faces] == [True] * bool(faces) + [False] * (len(faces) - 1)
    return faces[0].box if faces else None


def test_a_followed_face_needs_a_full_search_every_two_seconds_only(scene: Scene) -> None:
    tracker = FaceTracker(scene)
    scene.faces = [Box(100, 100, 150, 150)]
    for slot in range(50):
        assert speaker(tracker, slot * SLOT_NS) == pytest.approx((100, 100, 150, 150))
    assert len(scene.scans) == 10 * NS_PER_S // LOOK_AROUND_NS
    assert scene.looks_near == 49


def test_nobody_is_searched_for_in_turns_and_ever_more_rarely(scene: Scene) -> None:
    tracker = FaceTracker(scene)
    wanted = [time_ns for time_ns in range(0, 10 * NS_PER_S, 40_000_000) if _look(tracker, time_ns)]
    pauses = np.diff(wanted)
    assert list(pauses[:3]) == [SEARCH_NS] * 3
    assert set(pauses[3:]) == {IDLE_SEARCH_NS}
    # The first search looks for both at once, so that a session begins with a face.
    assert scene.scans[:6] == [False, True, True, False, True, False]


def _look(tracker: FaceTracker, time_ns: int) -> bool:
    wants = tracker.wants(time_ns)
    if wants:
        assert speaker(tracker, time_ns) is None
    return wants


def test_a_small_face_is_found_at_once(scene: Scene) -> None:
    scene.faces = [Box(10, 10, 60, 60)]
    assert speaker(FaceTracker(scene), 0) == pytest.approx((10, 10, 60, 60))


def test_a_face_that_turns_away_is_expected_back_at_its_place(scene: Scene) -> None:
    tracker = FaceTracker(scene)
    scene.faces = [Box(100, 100, 150, 150)]
    assert speaker(tracker, 0)
    scene.turned_away = True
    assert speaker(tracker, SLOT_NS) is None
    assert speaker(tracker, SLOT_NS + KEEP_NS // 2) is None
    scene.turned_away = False
    searches = len(scene.scans)
    assert speaker(tracker, SLOT_NS + KEEP_NS // 2 + 1) == pytest.approx((100, 100, 150, 150))
    assert len(scene.scans) == searches


def test_a_face_gone_for_long_is_forgotten(scene: Scene) -> None:
    tracker = FaceTracker(scene)
    scene.faces = [Box(100, 100, 150, 150)]
    speaker(tracker, 0)
    scene.faces = []
    speaker(tracker, KEEP_NS + 1)
    assert tracker.narrowest is None


def test_the_same_person_stays_until_another_is_much_larger(scene: Scene) -> None:
    tracker = FaceTracker(scene)
    mine, other = Box(50, 100, 150, 150), Box(400, 100, 180, 180)
    scene.faces = [mine]
    speaker(tracker, 0)
    scene.faces = [other, mine]
    assert speaker(tracker, LOOK_AROUND_NS) == pytest.approx(mine)
    scene.faces = [Box(350, 50, 240, 240), mine]
    assert speaker(tracker, 2 * LOOK_AROUND_NS) == pytest.approx((350, 50, 240, 240))


def test_boxes_are_smoothed_but_a_jump_is_not(scene: Scene) -> None:
    tracker = FaceTracker(scene)
    scene.faces = [Box(100, 100, 100, 100)]
    speaker(tracker, 0)
    scene.faces = [Box(110, 100, 100, 100)]
    assert speaker(tracker, SLOT_NS) == pytest.approx((106, 100, 100, 100))
    scene.faces = [Box(400, 300, 100, 100)]
    assert speaker(tracker, SLOT_NS * 2 + SEARCH_NS) == pytest.approx((400, 300, 100, 100))


def test_other_resolutions_follow_and_other_proportions_begin_anew(scene: Scene) -> None:
    tracker = FaceTracker(scene)
    scene.faces = [Box(200, 100, 200, 200)]
    speaker(tracker, 0)
    scene.faces = [Box(100, 50, 100, 100)]
    assert speaker(tracker, SLOT_NS, PICTURE[::2, ::2]) == pytest.approx((100, 50, 100, 100))
    assert len(scene.scans) == 1
    assert speaker(tracker, 2 * SLOT_NS, PICTURE.transpose(1, 0, 2)) is not None
    assert len(scene.scans) == 2


def test_each_face_keeps_its_number_and_one_is_the_speakers(scene: Scene) -> None:
    tracker = FaceTracker(scene, max_faces=2)
    left, right = Box(50, 100, 150, 150), Box(400, 100, 120, 120)
    scene.faces = [right, left, Box(250, 300, 100, 100)]
    first = tracker.find(0, PICTURE)
    assert [(face.face_id, face.is_speaker) for face in first] == [(0, True), (1, False)]
    assert [round(face.box.left) for face in first] == [50, 400], "the two largest"
    scene.faces = [left._replace(left=60), right._replace(left=390)]
    again = tracker.find(SLOT_NS, PICTURE)
    assert [(face.face_id, round(face.box.left)) for face in again] == [(0, 56), (1, 394)]


def test_a_face_that_comes_back_at_its_place_has_its_old_number(scene: Scene) -> None:
    tracker = FaceTracker(scene, max_faces=2)
    mine, other = Box(50, 100, 150, 150), Box(400, 100, 120, 120)
    scene.faces = [mine, other]
    tracker.find(0, PICTURE)
    scene.faces = [mine]
    for slot in range(1, 16):
        assert [face.face_id for face in tracker.find(slot * SLOT_NS, PICTURE)] == [0]
    scene.faces = [mine, other]
    found = [tracker.find(slot * SLOT_NS, PICTURE) for slot in range(16, 30)][-1]
    assert [face.face_id for face in found] == [0, 1]
    scene.faces = [mine, Box(300, 300, 120, 120)]
    assert [face.face_id for face in tracker.find(60 * SLOT_NS, PICTURE)] == [0, 2]


def test_the_speakers_face_is_the_one_nearest_to_the_chosen_place(scene: Scene) -> None:
    tracker = FaceTracker(scene, nearest=(0.8, 0.3))
    small, large = Box(450, 100, 100, 100), Box(50, 100, 250, 250)
    scene.faces = [large, small]
    assert speaker(tracker, 0) == pytest.approx(small)
    scene.faces = [large]
    assert speaker(tracker, SLOT_NS + SEARCH_NS) == pytest.approx(large), "nobody else is there"


def test_when_the_speaker_has_gone_another_takes_its_place(scene: Scene) -> None:
    tracker = FaceTracker(scene, max_faces=2)
    mine, other = Box(50, 100, 150, 150), Box(400, 100, 120, 120)
    scene.faces = [mine, other]
    tracker.find(0, PICTURE)
    scene.faces = [other]
    seen = [tracker.find(slot * SLOT_NS, PICTURE) for slot in range(1, 12)]
    assert seen[0] == [], "the speaker is looked for"
    assert [face.face_id for face in seen[-1] if face.is_speaker] == [1]
