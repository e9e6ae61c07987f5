"""Every word is in a result or counted late, and utterances say what their words say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.timing import NS_PER_S
from server.session.messages import Close, EndOfModality, EndOfUtterance, Media, Modality, Word
from server.session.pieces import Status

MS = 1_000_000
A, V, T = Modality.AUDIO, Modality.VIDEO, Modality.TEXT
SENTENCES = ((200, 2_800, "What a wonderful day."), (3_500, 5_900, "Now it rains, sadly."), (6_400, 7_700, "Fine."))


def speech(*spoken_ms: tuple[int, int], length_ms: int) -> np.ndarray:
    """Noise where somebody speaks, digital silence elsewhere."""
    samples = np.zeros(length_ms * 16, np.float32)
    random = np.random.default_rng(0)
    for start, end in spoken_ms:
        samples[start * 16 : end * 16] = 0.1 * random.standard_normal((end - start) * 16)
    return samples


def words(sequence: int, start_ms: int, end_ms: int, text: str, **others: object) -> Media:
    return Media(T, sequence, start_ms * MS, text.encode(), (end_ms - start_ms) * MS, **others)  # type: ignore[arg-type]


def end(at_ms: int) -> EndOfUtterance:
    return EndOfUtterance(at_ms * MS)


def by_time(timed: list[tuple[float, object]]) -> list[object]:
    return [item for _, item in sorted(timed, key=lambda pair: pair[0])]


def conversation(audio, delay_ms: int) -> list[object]:
    """Sentences as a recogniser sends them, each as one span with its end after it, `delay_ms` late."""
    samples = speech(*((start, stop) for start, stop, _ in SENTENCES), length_ms=8_300)
    timed: list[tuple[float, object]] = [(at.start_ns / MS + 100, at) for at in audio(samples, [100])]
    for sequence, (start, stop, text) in enumerate(SENTENCES):
        timed += [(stop + delay_ms, words(sequence, start, stop, text)), (stop + delay_ms + 1, end(stop))]
    return by_time(timed)


def finals(driver) -> list:
    return [one for one in driver.utterances if one.is_final]


def texts(plans) -> list[str]:
    return [plan.words.text for plan in plans if plan.words is not None]


@pytest.mark.parametrize("lateness_ms", [300, 5_000])
@pytest.mark.parametrize("delay_ms", [0, 800, 2_000])
def test_sentences_with_an_end_reach_windows_and_their_own_utterance(session, audio, delay_ms, lateness_ms):
    driver = session(A, T, lateness_ns=lateness_ms * MS).send(*conversation(audio, delay_ms), Close())
    assert texts(finals(driver)) == [text for _, _, text in SENTENCES]
    assert [(one.index, one.end_ns // MS) for one in finals(driver)] == [(0, 2_800), (1, 5_900), (2, 7_700)]
    shown = " ".join(texts(driver.finals))
    said = SENTENCES if delay_ms < 800 else SENTENCES[:2]
    assert all(text in shown for _, _, text in said), "the last one may come after the last window"
    totals = driver.core.totals[T]
    assert (totals.received, totals.used, totals.late) == (3, 3, 0)


def test_an_utterance_holds_its_own_stretch_of_audio_and_faces(session, audio, video):
    samples = speech((200, 2_800), (3_500, 5_900), length_ms=6_400)
    media = sorted([*audio(samples, [100]), *video(6.4, 10)], key=lambda one: one.start_ns)
    driver = session(A, V, T).send(words(0, 200, 2_800, "One."), end(2_800), *media, end(5_900), Close())
    first, second = finals(driver)
    assert (first.start_ns // MS, second.start_ns // MS) == (200, 3_500)
    assert [hop.index for hop in first.hops] == list(range(6))
    assert [hop.index for hop in second.hops] == list(range(7, 12))
    assert [face.slot for face in first.faces if face is not None] == list(range(1, 14))
    assert second.words is None


def test_an_utterance_of_any_length_is_one(session, audio):
    samples = speech((0, 200), (1_000, 21_000), length_ms=21_500)
    driver = session(A).send(*audio(samples, [100]), end(200), end(21_000), Close())
    assert [(one.start_ns // MS, one.end_ns // MS, len(one.hops)) for one in finals(driver)] == [
        (0, 200, 1),
        (1_000, 21_000, 40),
    ]


def test_words_that_come_late_revise_the_utterance_until_it_is_final(session, audio):
    driver = session(A, T, lateness_ns=2_000 * MS)
    sound = audio(speech((0, 900), length_ms=4_000), [100])
    driver.send(*sound[:10], end(900))
    assert [(one.revision, one.is_final, one.words) for one in driver.utterances] == [(0, False, None)]
    driver.send(words(0, 100, 400, "good"), words(1, 400, 900, "morning"))
    assert texts(driver.utterances) == ["good", "good morning"]
    driver.send(*sound[10:])
    assert [(one.index, one.revision, one.is_final) for one in driver.utterances] == [
        (0, 0, False),
        (0, 1, False),
        (0, 2, False),
        (0, 3, True),
    ]
    assert driver.utterances[-1].same_as_before


def test_a_word_of_the_next_utterance_makes_the_one_before_final(session, audio):
    sound = audio(speech((0, 900), length_ms=1_200), [100])
    driver = session(A, T, lateness_ns=5_000 * MS)
    driver.send(*sound[:10], words(0, 100, 800, "yes"), end(900))
    assert not finals(driver)
    driver.send(words(1, 1_000, 1_100, "and"))
    assert texts(finals(driver)) == ["yes"]


def test_words_after_the_last_tick_are_in_the_last_utterance(session, audio):
    sound = audio(speech((0, 2_700), length_ms=2_700), [100])
    driver = session(A, T).send(*sound, EndOfModality(A), words(0, 100, 2_600, "so late"), Close())
    assert texts(finals(driver)) == ["so late"]
    driver = session(A, T).send(*sound, words(0, 2_700, 2_700, "end"), Close())
    assert texts(finals(driver)) == ["end"]


def test_words_may_come_for_the_lateness_after_the_end_was_found(session, audio):
    sound = audio(speech((0, 2_000), length_ms=5_000), [100])
    sentence = words(0, 100, 1_900, "It took a while.")
    driver = session(A, T, endpointing_ns=800 * MS).send(*sound[:30], sentence, *sound[30:], Close())
    assert texts(finals(driver)) == ["It took a while."], "a pause is known when it is over"
    driver = session(A, T, endpointing_ns=800 * MS).send(*sound[:34], sentence, *sound[34:], Close())
    assert [one.words for one in finals(driver)] == [None]


def test_words_too_late_for_every_result_are_counted_late(session, audio):
    sound = audio(speech((0, 900), length_ms=6_000), [100])
    driver = session(A, T).send(*sound[:10], end(900), *sound[10:], words(0, 100, 900, "lost"), Close())
    totals = driver.core.totals[T]
    assert (totals.received, totals.used, totals.late) == (1, 0, 1)
    assert not texts(driver.plans)


def test_silence_is_no_utterance(session, audio):
    samples = speech((200, 2_750), length_ms=6_000)
    driver = session(A, T).send(*audio(samples, [100]), words(0, 200, 2_600, "Done."), end(2_800), end(4_000), Close())
    assert [(one.index, one.end_ns // MS) for one in finals(driver)] == [(0, 2_800)]


def test_what_lies_between_a_words_end_and_the_declared_end_is_no_utterance(session, audio):
    sound = audio(speech((200, 2_900), length_ms=3_000), [100])
    driver = session(A, T).send(words(0, 200, 2_700, "Done."), end(2_700), end(2_800), *sound, Close())
    assert [(one.start_ns // MS, one.end_ns // MS) for one in finals(driver)] == [(200, 2_700)]


def test_pauses_end_utterances_where_endpointing_is_asked_for(session, audio):
    samples = speech((200, 1_000), (1_400, 2_000), (3_500, 3_550), (4_500, 6_000), length_ms=6_500)
    settings = {"endpointing_ns": 800 * MS}
    driver = session(A, **settings).send(*audio(samples, [100]), Close())
    found = [(one.start_ns // MS, one.end_ns // MS) for one in finals(driver)]
    assert found == [(200, 2_000), (4_500, 6_500)], "a click is no utterance; the last one ends with the session"


def test_declared_ends_and_pauses_work_together(session, audio):
    samples = speech((200, 1_000), (1_000, 2_000), length_ms=4_000)
    driver = session(A, endpointing_ns=800 * MS).send(end(1_000), *audio(samples, [100]), Close())
    assert [one.end_ns // MS for one in finals(driver)] == [1_000, 2_000]


def test_text_beside_a_stream_that_sends_nothing_moves_on_by_its_own_clock(session):
    said = [words(number, 1_000 * number, 1_000 * number + 800, f"w{number}") for number in range(4)]
    driver = session(A, V, T).send(*said)
    assert [plan.end_ns // MS for plan in driver.finals] == [500, 1_000, 1_500, 2_000, 2_500]
    assert driver.finals[-1].words.text == "w0 w1"
    assert driver.finals[-1].statuses == {A: Status.LATE, V: Status.LATE, T: Status.USED}
    driver.send(end(3_800), words(4, 4_600, 4_900, "w4"))
    assert texts(finals(driver)) == ["w0 w1 w2 w3"]


def test_a_sentence_beside_a_muted_microphone_has_a_result_at_once(session, audio):
    driver = session(A, V, T).send(words(0, 200, 2_800, "Hello?"), end(2_800))
    assert [(one.is_final, one.words.text) for one in driver.utterances] == [(False, "Hello?")]
    sound = audio(speech((0, 3_000), length_ms=3_000), [100])
    driver = session(A, T).send(*sound, words(0, 5_200, 7_800, "Still there?"), end(7_800))
    assert [(one.is_final, one.words.text) for one in driver.utterances] == [(False, "Still there?")]


def test_a_first_result_is_followed_by_a_final_one_whatever_comes(session, audio, video):
    driver = session(A, V, lateness_ns=5_000 * MS).send(*video(3, 5), end(1_000))
    assert [one.is_final for one in driver.utterances] == [False], "faces alone, as no audio has come"
    driver.send(*audio(speech(length_ms=3_000), [100]), Close())
    assert [(one.index, one.is_final) for one in driver.utterances][-1] == (0, True)


def test_words_without_times_are_placed_where_the_session_is(session, audio):
    sound = audio(speech((0, 3_000), length_ms=4_000), [100])
    untimed = Media(T, 0, 0, b"hello there", has_time=False)
    driver = session(A, T).send(*sound[:20], untimed, EndOfUtterance(1_200 * MS), *sound[20:], Close())
    assert [plan.words and plan.words.text for plan in driver.finals[:3]] == [None, None, None]
    assert texts(driver.finals)[0] == "hello there"
    assert texts(finals(driver)) == ["hello there"], "they came before their utterance's end was declared"


def test_words_without_times_alone_are_placed_by_their_arrival(session):
    first = Media(T, 0, 0, b"hello", has_time=False, arrived_ns=3 * NS_PER_S)
    driver = session(T).send(first, EndOfUtterance(arrived_ns=3_200 * MS), Close())
    assert [(one.start_ns // MS, one.words.text) for one in finals(driver)] == [(0, "hello")]
    assert driver.finals[-1].end_ns // MS == 3_000


def test_words_of_a_span_count_by_their_own_times(session, audio):
    sound = audio(speech((0, 2_000), length_ms=2_000), [100])
    timed = (Word(0, 400 * MS, "one"), Word(1_200 * MS, 1_400 * MS, "two"), Word(1_400 * MS, 2_000 * MS, "three"))
    driver = session(A, T).send(words(0, 0, 2_000, "", words=timed), *sound, Close())
    assert [plan.words.text for plan in driver.finals] == ["one", "one", "one two", "one two three"]
    spread = session(A, T).send(words(0, 0, 2_000, "aa bb cc dd"), *sound, Close())
    assert [plan.words.text for plan in spread.finals] == ["aa", "aa bb", "aa bb cc", "aa bb cc dd"]


def test_a_short_utterance_stays_in_the_windows_that_reach_it(session, audio):
    sound = audio(speech((0, 900), (2_000, 8_000), length_ms=8_000), [100])
    driver = session(A, T).send(words(0, 100, 900, "Great."), end(900), words(1, 2_000, 2_400, "So"), *sound, Close())
    shown = {plan.end_ns // MS: plan.words.text for plan in driver.finals if plan.words}
    assert shown[1_000] == "Great."
    assert shown[2_500] == shown[4_500] == "Great. So"
    assert shown[5_000] == "So"


# Hypotheses.


def hypothesis(sequence: int, start_ms: int, end_ms: int, text: str, is_final: bool = False, number: int = 1) -> Media:
    return words(sequence, start_ms, end_ms, text, hypothesis=number, is_final=is_final)


def test_a_hypothesis_reaches_interim_results_and_is_taken_back_by_a_revision(session, audio):
    sound = audio(speech((0, 2_000), length_ms=3_000), [100])
    driver = session(A, T, lateness_ns=1_000 * MS)
    driver.send(hypothesis(0, 100, 450, "I hate"), *sound[:5])
    assert [(plan.is_final, plan.words.text) for plan in driver.plans] == [(False, "I hate")]
    driver.send(hypothesis(1, 100, 480, "I ate"))
    driver.send(hypothesis(2, 100, 480, "I ate well", is_final=True))
    assert [(plan.revision, plan.is_final, plan.words.text) for plan in driver.plans] == [
        (0, False, "I hate"),
        (1, False, "I ate"),
        (2, True, "I ate well"),
    ]
    totals = driver.send(*sound[5:], Close()).core.totals[T]
    assert (totals.received, totals.used, totals.replaced, totals.late) == (3, 1, 2, 0)


def test_final_results_hold_words_that_are_final_alone(session, audio):
    sound = audio(speech((0, 2_000), length_ms=2_000), [100])
    driver = session(A, T).send(hypothesis(0, 100, 450, "maybe"), *sound[:15])
    assert [plan.words for plan in driver.finals] == [None] * len(driver.finals)
    assert driver.finals, "the lateness is over"
    driver.send(hypothesis(1, 100, 450, "surely", is_final=True), *sound[15:], Close())
    assert driver.finals[-1].words.text == "surely"
    assert "maybe" not in texts(driver.finals)


def test_an_empty_text_takes_a_hypothesis_back(session, audio):
    sound = audio(speech((0, 1_000), length_ms=1_000), [100])
    driver = session(A, T).send(hypothesis(0, 100, 450, "noise"), hypothesis(1, 100, 450, "", is_final=True), *sound)
    driver.send(hypothesis(2, 100, 450, ""), Close())
    assert not texts(driver.plans)
    totals = driver.core.totals[T]
    assert (totals.received, totals.replaced, totals.rejected) == (3, 2, 1)


def test_what_stands_when_the_words_end_is_final(session, audio):
    sound = audio(speech((0, 1_000), length_ms=1_000), [100])
    driver = session(A, T).send(*sound, hypothesis(0, 100, 900, "cut off"), Close())
    assert texts(finals(driver)) == ["cut off"]
    assert driver.core.totals[T].used == 1


# Recordings.


def recorded(driver) -> tuple[object, ...]:
    plans = [*driver.finals, *finals(driver)]
    shape = [(plan.start_ns, plan.end_ns, plan.words and plan.words.text, plan.statuses) for plan in plans]
    return (
        shape,
        [[hop and hop.index for hop in plan.hops] for plan in plans],
        [[face and face.slot for face in plan.faces] for plan in plans],
    )


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(["audio", "video", "text", "ends"]), ended=st.booleans())
def test_a_recording_gives_the_same_results_modality_by_modality(session, audio, video, order, ended):
    samples = speech(*((start, stop) for start, stop, _ in SENTENCES), length_ms=8_300)
    streams: dict[str, list] = {
        "audio": audio(samples, [200]),
        "video": video(8.3, 5),
        "text": [words(number, *sentence) for number, sentence in enumerate(SENTENCES)],
        "ends": [end(stop) for _, stop, _ in SENTENCES],
    }
    options = {"is_recorded": True, "final_only": True, "max_gap_ns": 60 * NS_PER_S}
    interleaved = by_time([(one.start_ns, one) for name in ("text", "audio", "video") for one in streams[name]])
    expected = recorded(session(A, V, T, **options).send(*interleaved, *streams["ends"], Close()))
    driver = session(A, V, T, **options)
    for name in order:
        driver.send(*streams[name])
        if ended and name != "ends":
            driver.send(EndOfModality(Modality(name)))
    assert recorded(driver.send(Close())) == expected
    assert texts(finals(driver)) == [text for _, _, text in SENTENCES]
    assert [totals.late for totals in driver.core.totals.values()] == [0, 0, 0]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    delay_ms=st.integers(0, 3_000),
    lateness_ms=st.sampled_from([0, 300, 5_000]),
    ends_first=st.booleans(),
    lost=st.floats(0, 0.2),
    doubled=st.floats(0, 0.2),
)
def test_every_word_is_in_a_final_result_or_counted_late(
    session, audio, seed, delay_ms, lateness_ms, ends_first, lost, doubled
):
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.integers(300, 1_500, 10))
    spoken = [(int(at), int(at + random.integers(0, 900))) for at in starts]
    timed: list[tuple[float, object]] = [(one.start_ns / MS, one) for one in audio(speech(length_ms=12_000), [100])]
    sequence = 0
    for number, (start, stop) in enumerate(spoken):
        sent = stop + int(random.integers(0, delay_ms + 1))
        last = random.random() < 0.5
        for text in [f"h{number}", ""] if random.random() < 0.2 else [f"h{number}", f"w{number}"][int(last) :]:
            one = hypothesis(0, start, stop, text, is_final=last, number=number)
            timed.append((sent := sent + 50, one))
        if random.random() < 0.4:
            timed.append((stop - 1 if ends_first else sent + 1, end(stop)))
    items = by_time(timed)
    numbered = []
    for item in items:
        if isinstance(item, Media) and item.modality == T:
            item = Media(**{**item.__dict__, "sequence": sequence})
            sequence += 1
        if random.random() >= lost:
            numbered += [item] * (1 + (isinstance(item, Media) and random.random() < doubled))
    driver = session(A, T, lateness_ns=lateness_ms * MS).send(*numbered, Close())
    totals = driver.core.totals[T]
    fates = (totals.used, totals.late, totals.skipped, totals.dropped, totals.rejected, totals.replaced)
    assert totals.received == sum(fates)
    shown = set(" ".join(texts([*driver.finals, *finals(driver)])).split())
    assert len(shown) == totals.used
    seen: dict[tuple[str, int], int] = {}
    ended: set[tuple[str, int]] = set()
    for plan in [*driver.plans, *driver.utterances]:
        name = (type(plan).__name__, plan.index)
        assert name not in ended, "a final result never changes"
        assert plan.revision == seen.get(name, -1) + 1
        seen[name] = plan.revision
        ended |= {name} if plan.is_final else set()
    assert set(seen) == ended


@pytest.mark.parametrize("interval_ms", [500, 1_000, 2_000])
def test_windows_come_as_often_as_the_client_likes(session, audio, video, interval_ms):
    sound, frames = audio(speech((0, 4_200), length_ms=4_200), [100]), video(2.9, 5)
    media = sorted([*sound, *frames], key=lambda one: one.start_ns)
    driver = session(A, V, T, interval_ns=interval_ms * MS).send(*media, words(0, 3_000, 3_900, "late"), Close())
    assert [plan.end_ns // MS for plan in driver.finals] == list(range(interval_ms, 4_200 + interval_ms, interval_ms))
    assert {len(plan.hops) for plan in driver.finals} == {8}
    last = driver.finals[-1]
    assert last.words.text == "late"
    seen = last.end_ns // MS - interval_ms < 2_900
    assert last.statuses == {A: Status.USED, V: Status.USED if seen else Status.MISSING, T: Status.USED}


def test_a_window_without_voice_face_and_words_has_no_life(session, audio, video):
    samples = speech((0, 1_000), length_ms=11_000)
    media = sorted([*audio(samples, [100]), *video(1, 5, start_ms=9_000)], key=lambda one: one.start_ns)
    driver = session(A, V, lateness_ns=0).send(*media, Close())
    lively = [plan.end_ns // MS for plan in driver.finals if plan.has_life]
    assert lively == [*range(500, 5_000, 500), *range(9_500, 11_500, 500)]


def test_noise_before_the_first_word_is_not_part_of_its_utterance(session, audio):
    noise = audio(speech((0, 5_000), length_ms=5_000), [100])
    driver = session(A, T).send(words(0, 3_000, 4_000, "At last."), end(4_000), *noise, Close())
    assert [(one.start_ns // MS, one.end_ns // MS) for one in finals(driver)] == [(3_000, 4_000)]
