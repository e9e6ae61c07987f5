import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.timing import CONTEXT_SAMPLES, HOP_SAMPLES, NS_PER_S
from server.session.messages import Close, EndOfModality, EndOfUtterance, Media, Modality
from server.session.pieces import Status, WindowPlan

MS = 1_000_000
A, V, T = Modality.AUDIO, Modality.VIDEO, Modality.TEXT


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(int(seconds * 16_000)).astype(np.float32)


def word(sequence: int, start_ms: int, end_ms: int, text: str) -> Media:
    return Media(T, sequence, start_ms * MS, text.encode(), (end_ms - start_ms) * MS)


def end_of(message: Media) -> int:
    length = len(message.data) // 4 * NS_PER_S // 16_000 if message.modality == A else 0
    return message.start_ns + length + message.duration_ns


def content(plan: WindowPlan) -> object:
    return (
        plan.index,
        [None if hop is None else (hop.pcm.tobytes(), hop.mask.tobytes()) for hop in plan.hops],
        [None if face is None else (face.slot, face.crop[0, 0, 0]) for face in plan.faces],
        plan.words and plan.words.text,
        plan.statuses,
    )


def test_audio_alone_gives_a_window_per_half_second(session, audio):
    driver = session(A).send(*audio(noise(2.2), [100]))
    assert [(plan.index, plan.revision, plan.is_final) for plan in driver.plans] == [(i, 0, True) for i in range(4)]
    assert [plan.end_ns for plan in driver.plans] == [500 * MS, 1000 * MS, 1500 * MS, 2000 * MS]
    driver.send(Close())
    assert driver.plans[-1].end_ns == 2500 * MS
    assert driver.plans[-1].hops[-1].mask.tolist() == [1, 1, 0, 0, 0]


def test_a_hop_carries_one_second_of_context_and_no_future(session, audio):
    samples = noise(3)
    driver = session(A).send(*audio(samples, [100]), Close())
    padded = np.concatenate([np.zeros(CONTEXT_SAMPLES, dtype=np.float32), samples])
    assert len(driver.hops) == 6
    for number, hop in enumerate(driver.hops):
        start = number * HOP_SAMPLES
        np.testing.assert_array_equal(hop.pcm, padded[start : start + CONTEXT_SAMPLES + HOP_SAMPLES])


def test_the_oldest_hops_leave_the_window_after_four_seconds(session, audio):
    driver = session(A).send(*audio(noise(6), [250]), Close())
    last = driver.finals[-1]
    assert last.start_ns == 2 * NS_PER_S
    assert [hop.index for hop in last.hops] == list(range(4, 12))


@pytest.fixture(scope="session")
def expected(session, audio, video):
    """Final windows of four seconds of everything, in order and in chunks of 100 ms."""
    messages = sorted([*audio(noise(4), [100]), *video(4, 25)], key=end_of)
    return [content(plan) for plan in session(A, V).send(*messages, Close()).finals]


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(10, 150), min_size=1, max_size=6), seed=st.integers(0, 2**32 - 1))
def test_chunk_sizes_and_order_within_the_lateness_do_not_change_windows(session, audio, video, expected, sizes, seed):
    delay = np.random.default_rng(seed)
    messages = [*audio(noise(4), sizes), *video(4, 25)]
    # With chunks of up to 150 ms and delays of up to 140 ms, nothing comes later than the lateness of 300 ms.
    order = sorted(messages, key=lambda message: end_of(message) + int(delay.integers(0, 140)) * MS)
    driver = session(A, V).send(*order, Close())
    assert [content(plan) for plan in driver.finals] == expected
    for totals in (driver.core.totals[A], driver.core.totals[V]):
        assert totals.received == totals.used + totals.skipped
        assert totals.late == totals.rejected == 0


def test_chunks_of_a_second_sent_when_they_begin_do_not_finalise_the_others(session, audio, video, expected):
    messages = sorted([*audio(noise(4), [1000]), *video(4, 25)], key=lambda message: message.start_ns)
    assert [content(plan) for plan in session(A, V).send(*messages, Close()).finals] == expected


def test_a_first_revision_goes_out_with_the_audio_and_the_final_one_with_the_video(session, audio, video):
    sounds, frames = audio(noise(1), [100]), video(1, 5)
    driver = session(A, V).send(*frames[:3], *sounds[:5])
    assert [(plan.index, plan.revision, plan.is_final) for plan in driver.plans] == [(0, 0, False)]
    driver.send(frames[3])
    assert [(plan.index, plan.revision, plan.is_final) for plan in driver.plans] == [(0, 0, False), (0, 1, True)]
    assert driver.plans[1].same_as_before


def test_a_frame_between_the_revisions_changes_the_second(session, audio, video):
    sounds, frames = audio(noise(1), [100]), video(1, 5)
    driver = session(A, V).send(*frames[:2], *sounds[:5])
    assert driver.plans[0].statuses[V] == Status.USED
    driver.send(*frames[2:4])
    assert [plan.same_as_before for plan in driver.plans] == [False, False]
    assert [face and face.slot for face in driver.plans[1].faces[-3:]] == [0, 1, 2]


def test_final_only_sends_one_result_a_window(session, audio, video):
    messages = sorted([*audio(noise(2), [100]), *video(2, 5)], key=end_of)
    driver = session(A, V, final_only=True).send(*messages, Close())
    assert [(plan.index, plan.revision) for plan in driver.plans] == [(i, 0) for i in range(4)]


def test_a_silent_stream_holds_windows_for_the_lateness_only(session, audio):
    driver = session(A, V).send(*audio(noise(0.8), [100]))
    assert driver.finals == []
    driver.send(*audio(noise(0.1), [100], start_ms=800, first_sequence=8))
    assert [plan.index for plan in driver.finals] == [0]
    assert driver.finals[0].statuses == {A: Status.USED, V: Status.LATE, T: Status.MISSING}


def test_an_ended_stream_holds_nothing(session, audio):
    driver = session(A, V).send(EndOfModality(V), *audio(noise(0.5), [100]))
    assert driver.finals[0].statuses == {A: Status.USED, V: Status.MISSING, T: Status.MISSING}


def test_a_late_frame_is_counted_and_serves_the_windows_that_are_open(session, audio, video):
    frames = video(1, 5)
    driver = session(A, V).send(*audio(noise(0.9), [100]), *frames[:1])
    assert driver.core.totals[V].late == 1
    driver.send(*audio(noise(0.5), [100], start_ms=900, first_sequence=9), Close())
    faces = [face.slot for face in driver.finals[1].faces if face is not None]
    assert faces == [0]


def test_a_gap_gives_windows_with_missing_audio(session, audio):
    samples = noise(1)
    driver = session(A).send(*audio(samples, [100]), *audio(samples, [100], start_ms=2500, first_sequence=10), Close())
    statuses = [plan.statuses[A] for plan in driver.finals]
    assert statuses == [Status.USED] * 2 + [Status.MISSING] * 3 + [Status.USED] * 2
    assert not driver.hops[2].pcm[:CONTEXT_SAMPLES].any()


def test_nothing_at_all_for_longer_than_a_window(session, audio):
    driver = session(A).send(
        *audio(noise(0.5), [100]), *audio(noise(0.5), [100], start_ms=6000, first_sequence=5), Close()
    )
    assert len(driver.finals) == 13
    empty = driver.finals[10]
    assert all(hop is None for hop in empty.hops)
    assert empty.statuses[A] == Status.MISSING


def test_text_alone_drives_its_session(session):
    driver = session(T).send(word(0, 0, 400, "what"), word(1, 400, 900, "a"), word(2, 900, 1600, "day"), Close())
    assert [plan.words and plan.words.text for plan in driver.finals] == ["what", "what a", "what a", "what a day"]


def test_words_count_once_they_ended_and_belong_to_the_current_utterance(session, audio):
    driver = session(A, T).send(
        word(0, 0, 450, "good"),
        word(1, 450, 900, "morning"),
        EndOfUtterance(1000 * MS),
        word(2, 1100, 1400, "bad"),
        *audio(noise(2), [100]),
        Close(),
    )
    assert [plan.words and plan.words.text for plan in driver.finals] == [
        "good",
        "good morning",
        "good morning bad",
        "good morning bad",
    ]
    assert [(one.index, one.start_ns, one.end_ns) for one in driver.utterances if one.is_final] == [
        (0, 0, 1000 * MS),
        (1, 1100 * MS, 2000 * MS),
    ]


def test_the_close_ends_the_utterance_of_a_session_with_words(session, audio):
    driver = session(A, T).send(word(0, 0, 400, "hello"), *audio(noise(1.2), [100]), Close())
    assert [(one.start_ns, one.end_ns) for one in driver.utterances] == [(0, 1200 * MS)]
    assert session(A, T).send(*audio(noise(1.2), [100]), Close()).utterances == []


def test_unchanged_words_are_one_piece(session, audio):
    driver = session(A, T).send(word(0, 0, 100, "hello"), *audio(noise(1.5), [100]), Close())
    assert len({id(plan.words) for plan in driver.finals}) == 1


def test_an_endless_utterance_keeps_its_newest_words(session):
    driver = session(T).send(*(word(n, n * 100, n * 100 + 90, f"{n} " + "x" * 500) for n in range(30)), Close())
    text = driver.finals[-1].words.text
    assert text.endswith("29 " + "x" * 500)
    assert len(text) <= 4000
    assert text.startswith(("2", "x"))


def test_text_after_the_others_ended_still_gets_windows(session, audio):
    driver = session(A, T).send(*audio(noise(1), [100]), EndOfModality(A), word(0, 1200, 2100, "later"))
    assert [plan.end_ns // MS for plan in driver.finals] == [500, 1000, 1500, 2000]


def test_a_lost_message_is_given_up_after_the_lateness_and_late_when_it_comes(session, audio):
    messages = audio(noise(1.5), [100])
    driver = session(A).send(*messages[:3], *messages[4:7])
    assert driver.plans == []
    driver.send(*messages[7:])
    assert driver.finals[0].hops[-1].mask.tolist() == [1, 1, 1, 0, 1]
    driver.send(messages[3], messages[3], Close())
    totals = driver.core.totals[A]
    assert (totals.received, totals.used, totals.late, totals.skipped) == (16, 14, 1, 1)


def test_a_duplicate_is_skipped(session, audio):
    messages = audio(noise(0.5), [100])
    driver = session(A).send(*messages, messages[2])
    assert driver.core.totals[A].skipped == 1
    assert len(driver.plans) == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Media(A, 0, -1, b"1234"), "audio.start_offset is -0.000 s"),
        (Media(A, 0, 61 * NS_PER_S, b"1234"), "at most 60.000 s ahead"),
        (Media(A, 5000, 0, b"1234"), "sequence 5000 is more than 1000 ahead of the next expected one, 0"),
        (Media(V, 0, 0, b"1"), "video was not configured"),
        (Media(T, 0, 0, b"  "), "text.text is empty"),
        (Media(T, 0, 0, b"word", -5), "text.duration is -0.000 s"),
        (EndOfModality(V), "no open video stream"),
        (EndOfUtterance(-1), "end_of_utterance.offset"),
    ],
)
def test_bad_messages_are_rejected_with_a_sentence_and_the_session_goes_on(session, audio, message, said):
    driver = session(A, T).send(message)
    assert said in driver.rejected[0][1]
    driver.send(*audio(noise(0.5), [100], first_sequence=1), Close())
    assert len(driver.finals) == 1


def test_a_bad_message_does_not_displace_a_good_one_of_the_same_sequence(session, audio):
    messages = audio(noise(0.5), [100])
    bad = Media(A, 2, 61 * NS_PER_S, b"1234")
    driver = session(A).send(*messages[:1], messages[2], bad, *messages[1:2], *messages[3:], Close())
    assert driver.finals[0].hops[-1].mask.tolist() == [1, 1, 1, 1, 1]
    totals = driver.core.totals[A]
    assert (totals.received, totals.used, totals.rejected) == (6, 5, 1)


def test_words_that_run_back_are_rejected(session):
    driver = session(T).send(word(0, 500, 800, "now"), word(1, 100, 300, "then"), Close())
    assert "runs back" in driver.rejected[0][1]
    assert driver.core.totals[T].rejected == 1


def test_media_after_its_end_is_rejected(session, audio):
    messages = audio(noise(0.5), [100])
    driver = session(A).send(*messages[:2], EndOfModality(A), messages[2])
    assert driver.rejected[0][1] == "audio has ended"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lost=st.floats(0, 0.3),
    doubled=st.floats(0, 0.3),
    delay_ms=st.integers(0, 2000),
)
def test_every_message_has_one_fate_and_every_window_one_final_result(
    session, audio, video, seed, lost, doubled, delay_ms
):
    random = np.random.default_rng(seed)
    words = [word(number, number * 300, number * 300 + 250, f"w{number}") for number in range(12)]
    messages = [*audio(noise(4), [40, 100]), *video(4, 15), *words]
    messages = [message for message in messages if random.random() >= lost]
    messages += [message for message in messages if random.random() < doubled]
    order = sorted(messages, key=lambda message: end_of(message) + int(random.integers(0, delay_ms + 1)) * MS)
    driver = session(A, V, T).send(*order, Close())
    for totals in driver.core.totals.values():
        fates = totals.used + totals.skipped + totals.late + totals.dropped + totals.rejected
        assert totals.received == fates
    assert [plan.index for plan in driver.finals] == list(range(len(driver.finals)))
    seen: dict[int, int] = {}
    for plan in driver.plans:
        assert plan.revision == seen.get(plan.index, -1) + 1
        seen[plan.index] = plan.revision


def test_an_endless_utterance_keeps_bounded_state(session, audio, video):
    driver = session(A, V, T)
    for second in range(200):
        driver.send(
            *audio(noise(1), [250], start_ms=second * 1000, first_sequence=second * 4),
            *video(1, 5, start_ms=second * 1000, first_sequence=second * 5),
            word(second, second * 1000, second * 1000 + 200, f"word{second}"),
        )
    core = driver.core
    assert len(core._store.audio._hops) <= 75
    assert len(core._store.faces._slots) <= 190
    assert len(core._windows._open) <= 2
    last = driver.send(Close()).utterances[-1]
    kept = [number for number, hop in enumerate(last.hops) if hop is not None]
    assert max(np.diff(kept)) == 8, "of 200 seconds every eighth hop is left, from the first one on"
    assert (kept[0], kept[-1]) == (0, 399)
