import numpy as np
import pytest

from contract.faces import FACE_SIZE
from contract.models import EMBEDDING_DIM, FUSION
from contract.timing import AUDIO_SLOTS, CHUNK_SAMPLES, HOP_NS, HOPS_PER_WINDOW, VIDEO_SLOTS
from server.session.fusion_input import Encoded, assemble
from server.session.messages import Modality
from server.session.pieces import AudioHop, Face, Status, WindowPlan, Words

A, V, T = Modality.AUDIO, Modality.VIDEO, Modality.TEXT


def hop(index: int, mask=(1, 1, 1, 1, 1)) -> AudioHop:
    return AudioHop(index, np.zeros(CHUNK_SAMPLES, np.float32), np.array(mask, np.float32), 1)


def face(slot: int) -> Face:
    return Face(slot, slot * 200_000_000, np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8))


def encoded(shape, value, sentiment=0.5, mask=None) -> Encoded:
    return Encoded(np.full(shape, value, np.float32), np.full(7, value, np.float32), sentiment, mask)


def plan(hops=(), faces=(), words=None, end_hops=HOPS_PER_WINDOW, **statuses) -> WindowPlan:
    end_ns = end_hops * HOP_NS
    return WindowPlan(
        index=end_hops - 1,
        revision=0,
        is_final=True,
        start_ns=max(0, end_ns - HOPS_PER_WINDOW * HOP_NS),
        end_ns=end_ns,
        hops=(None,) * (HOPS_PER_WINDOW - len(hops)) + tuple(hops),
        faces=(None,) * (VIDEO_SLOTS - len(faces)) + tuple(faces),
        words=words,
        statuses={m: statuses.get(m.value, Status.USED) for m in Modality},
    )


def test_the_tensors_are_those_of_the_contract():
    window = assemble(plan([hop(7)], [face(19)]), {})
    for spec in FUSION.inputs:
        assert window.tensors[spec.name].shape == spec.shape
        assert window.tensors[spec.name].dtype == np.float32


def test_the_newest_piece_is_last_and_masked_slots_are_zero():
    old, new, image, words = hop(6, mask=(1, 0, 1, 1, 1)), hop(7), face(19), Words("hello")
    mask = np.zeros(64, np.float32)
    mask[:3] = 1
    window = assemble(
        plan([old, new], [image], words),
        {
            old: encoded((5, EMBEDDING_DIM), 1),
            new: encoded((5, EMBEDDING_DIM), 2),
            image: encoded(EMBEDDING_DIM, 3),
            words: encoded((64, EMBEDDING_DIM), 4, mask=mask),
        },
    )
    audio = window.tensors["AUDIO"][:, 0]
    assert audio[-10:].tolist() == [1, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert not audio[:-10].any()
    assert window.tensors["AUDIO_MASK"][-10:].tolist() == [1, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert window.tensors["VIDEO"][:, 0].tolist() == [0] * (VIDEO_SLOTS - 1) + [3]
    assert window.tensors["TEXT"][:4, 0].tolist() == [4, 4, 4, 0]
    assert window.views[A].coverage == pytest.approx(9 / AUDIO_SLOTS)
    assert window.views[V].coverage == pytest.approx(1 / VIDEO_SLOTS)
    assert window.views[T].coverage == 1
    assert not window.is_empty


def test_slots_before_the_session_do_not_count_against_the_coverage():
    one = hop(0)
    window = assemble(plan([one], end_hops=1), {one: encoded((5, EMBEDDING_DIM), 1)})
    assert window.views[A].coverage == 1


@pytest.mark.parametrize("failed", [0, 1])
def test_a_piece_that_could_not_be_encoded_is_masked_and_said(failed):
    pieces = [hop(6), hop(7)]
    window = assemble(plan(pieces), {pieces[1 - failed]: encoded((5, EMBEDDING_DIM), 1, sentiment=0.25)})
    assert window.views[A].status == Status.DROPPED
    assert window.tensors["AUDIO_MASK"].sum() == 5
    assert window.views[A].sentiment == 0.25


def test_a_status_other_than_used_stays():
    window = assemble(plan([hop(6)], audio=Status.LATE), {})
    assert window.views[A].status == Status.LATE
    assert window.views[A].sentiment is None
    assert window.is_empty


def test_own_scores_are_the_mean_over_the_pieces():
    first, second = hop(6), hop(7)
    scores = {first: encoded((5, EMBEDDING_DIM), 1, sentiment=-1), second: encoded((5, EMBEDDING_DIM), 3, sentiment=0)}
    view = assemble(plan([first, second]), scores).views[A]
    assert view.sentiment == -0.5
    assert view.emotion is not None
    assert view.emotion.tolist() == [2.0] * 7
