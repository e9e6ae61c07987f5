"""Rules 4: words and utterances."""

import numpy as np
from moodstream.v1 import media_pb2, result_pb2, session_pb2

from tests.conformance.harness import (
    PCM,
    TEXT,
    Media,
    Peer,
    Told,
    at,
    builtin,
    end,
    in_order,
    rule,
    silence,
    span,
    statuses,
)

HAPPY = (0.3, 2.6, "I am so happy, this is wonderful and I love it!")
ANGRY = (3.2, 5.7, "This is terrible, I hate it, it makes me so angry.")
WORDS = media_pb2.MODALITY_TEXT


def talk(lateness_s: float = 0.3, **fields: object) -> session_pb2.SessionConfig:
    return session_pb2.SessionConfig(audio=PCM, text=TEXT, lateness=at(lateness_s), **fields)  # type: ignore[arg-type]


def quiet(seconds: float) -> list[tuple[float, Media]]:
    """Silent audio, each chunk with the time at which it ends."""
    return [(0.1 * number + 0.1, chunk) for number, chunk in enumerate(silence(seconds))]


def share(result: result_pb2.SentimentResult) -> float:
    """Contribution of the words."""
    return result.modalities[2].contribution


def assert_both_said(told: Told) -> None:
    """The two sentences are two utterances, each of which says what its words say."""
    happy, angry = told.utterances
    assert happy.sentiment > 0.15 > -0.15 > angry.sentiment
    for one in (happy, angry):
        assert statuses(one)[2] == "USED"
        assert share(one) > 0.1


@rule("4.1")
async def sentences_with_ends_declared_at_once_or_later(peer: Peer) -> None:
    for lateness_s in (0.3, 5):
        for delay_s in (0.0, 0.8, 2.0):
            timed = quiet(8)
            for number, (begin_s, end_s, text) in enumerate((HAPPY, ANGRY)):
                timed.append((end_s + 0.001, span(number, begin_s, end_s, text)))
                timed.append((end_s + 0.002 + delay_s, end(end_s)))
            told = await peer.session(talk(lateness_s), in_order(*timed))
            assert_both_said(told)
            totals = told.totals(WORDS)
            assert (totals.received, totals.used, totals.late) == (2, 2, 0), (lateness_s, delay_s)


@rule("4.1")
async def an_utterance_may_be_short_or_long(peer: Peer) -> None:
    short = in_order(*quiet(2), (0.9, span(0, 0.6, 0.8, "Terrible!")), (0.91, end(0.8)))
    (utterance,) = (await peer.session(talk(), short)).utterances
    assert utterance.sentiment < 0
    words = [span(number, 0.4 * number, 0.4 * number + 0.4, "wonderful") for number in range(40)]
    long = in_order(*quiet(17), *((0.4 * number + 0.45, one) for number, one in enumerate(words)), (16.1, end(16)))
    (utterance,) = (await peer.session(talk(), long)).utterances
    assert utterance.sentiment > 0
    assert (utterance.start_offset.ToMilliseconds(), utterance.end_offset.ToMilliseconds()) == (0, 16_000)


@rule("4.2")
async def late_words_revise_or_are_counted_late(peer: Peer) -> None:
    begin_s, end_s, text = ANGRY
    last = "I love it!"
    for delay_s, in_time in ((1.0, True), (4.0, False)):
        timed = quiet(12)
        timed += [(begin_s + 1, span(0, begin_s, begin_s + 1, "This is")), (end_s, end(end_s))]
        timed.append((end_s + delay_s, span(1, begin_s + 1.1, end_s, text.removeprefix("This is "))))
        timed.append((10.0, span(2, 9, 10, last)))
        told = await peer.session(talk(2), in_order(*timed))
        first = [one for one in told.of(result_pb2.SCOPE_UTTERANCE, final=False) if one.index == 0]
        totals = told.totals(WORDS)
        if in_time:
            assert first[-1].sentiment < -0.15
            assert abs(first[0].sentiment - first[-1].sentiment) > 0.01
            assert (totals.used, totals.late) == (3, 0)
        else:
            assert (totals.used, totals.late) == (2, 1)


@rule("4.3")
async def silence_is_no_utterance(peer: Peer) -> None:
    begin_s, end_s, text = HAPPY
    timed = [*quiet(8), (end_s, span(0, begin_s, end_s, text)), (4.01, end(4)), (6, end(6))]
    told = await peer.session(talk(), in_order(*timed))
    assert len(told.utterances) == 1
    assert told.utterances[0].end_offset.ToMilliseconds() == 4000


@rule("4.4")
async def hypotheses_are_replaced(peer: Peer) -> None:
    begin_s, end_s, text = ANGRY
    timed = quiet(8)
    for number in range(5):
        until_s = begin_s + 0.3 * (number + 1)
        timed.append((until_s + 0.05, span(number, begin_s, until_s, HAPPY[2], hypothesis_id=7)))
    timed.append((end_s, span(5, begin_s, end_s, text, hypothesis_id=7, is_final=True)))
    timed.append((end_s + 0.01, end(end_s)))
    told = await peer.session(talk(1), in_order(*timed))
    interim = [one for one in told.of(result_pb2.SCOPE_WINDOW, final=False) if not one.is_final]
    assert max(one.sentiment for one in interim) > 0.15
    (utterance,) = told.utterances
    assert utterance.sentiment < -0.15
    totals = told.totals(WORDS)
    assert (totals.received, totals.used, totals.replaced) == (6, 1, 5)


@rule("4.4")
async def hypotheses_can_be_taken_back(peer: Peer) -> None:
    timed = quiet(6)
    timed.append((1.0, span(0, 0.2, 1.0, HAPPY[2], hypothesis_id=1)))
    timed.append((1.2, span(1, 0.2, 1.0, "", hypothesis_id=1, is_final=True)))
    told = await peer.session(talk(1), in_order(*timed))
    assert told.rejected == []
    assert told.utterances == []
    assert {statuses(one)[2] for one in told.windows} == {"MISSING"}
    nothing = await peer.session(talk(), [span(0, 0.2, 1, ""), span(1, 0.2, 1, "", hypothesis_id=3)])
    assert nothing.reasons == ["TEXT_EMPTY", "TEXT_EMPTY"]


@rule("4.5")
async def words_without_times(peer: Peer) -> None:
    timed = quiet(6)
    timed.append((2.05, media_pb2.TextSpan(sequence=0, text=HAPPY[2])))
    timed.append((2.06, session_pb2.EndOfUtterance()))
    timed.append((4.05, media_pb2.TextSpan(sequence=1, text=ANGRY[2])))
    timed.append((4.06, session_pb2.EndOfUtterance()))
    told = await peer.session(talk(1), in_order(*timed))
    happy, angry = told.utterances
    assert happy.sentiment > 0 > angry.sentiment
    assert 1.8 <= happy.end_offset.ToMilliseconds() / 1000 <= 2.2
    assert 3.8 <= angry.end_offset.ToMilliseconds() / 1000 <= 4.2


@rule("4.6")
async def words_with_times_of_their_own(peer: Peer) -> None:
    words = [
        media_pb2.WordInfo(start_offset=at(0.2), end_offset=at(0.4), word="How"),
        media_pb2.WordInfo(start_offset=at(1.2), end_offset=at(1.4), word="terrible."),
    ]
    timed = [*quiet(3), (0.05, media_pb2.TextSpan(sequence=0, start_offset=at(0.2), words=words))]
    own = await peer.session(talk(2), in_order(*timed))
    whole = await peer.session(talk(2), in_order(*quiet(3), (0.05, span(0, 1.2, 1.4, "How terrible."))))
    assert [statuses(one)[2] for one in own.windows] == ["USED"] * 6
    assert [statuses(one)[2] for one in whole.windows] == ["MISSING", "MISSING", *["USED"] * 4]


@rule("4.7")
async def pauses_of_the_voice_end_utterances(peer: Peer) -> None:
    clip, media = builtin(video=False)
    config = session_pb2.SessionConfig(audio=clip.config.audio)
    config.endpointing.speech_end_timeout.CopyFrom(at(0.3))
    told = await peer.session(config, [one for one in media if isinstance(one, media_pb2.AudioChunk)])
    assert len(told.utterances) >= 2
    for one, following in zip(told.utterances, told.utterances[1:], strict=False):
        pause_ns = following.start_offset.ToNanoseconds() - one.end_offset.ToNanoseconds()
        assert pause_ns >= 250_000_000
        assert statuses(one)[0] == "USED"


@rule("4.8")
async def words_alone_beside_silence_and_after_the_audio(peer: Peer) -> None:
    sentences = [(stop, span(number, begin, stop, text)) for number, (begin, stop, text) in enumerate((HAPPY, ANGRY))]
    ends = [(stop + 0.01, end(stop)) for _, stop, _ in (HAPPY, ANGRY)]
    assert_both_said(await peer.session(session_pb2.SessionConfig(text=TEXT), in_order(*sentences, *ends)))
    assert_both_said(await peer.session(talk(), in_order(*sentences, *ends)))
    assert_both_said(await peer.session(talk(), in_order(*sentences, *ends, *quiet(8))))
    assert_both_said(await peer.session(talk(), in_order(*sentences, *ends, *quiet(1))))


@rule("4.8")
async def results_do_not_wait_for_audio_that_never_comes(peer: Peer) -> None:
    call, _ = await peer.begin(talk())
    for number in range(6):
        await call.write(session_pb2.StreamSentimentRequest(text=span(number, number, number + 0.9, "wonderful")))
    results = [(await call.read()).result for _ in range(4)]
    assert [one.index for one in results if one.is_final][:2] == [0, 1] or results[0].HasField("sentiment")
    assert any(np.isfinite(one.sentiment) and statuses(one)[2] == "USED" for one in results)
    call.cancel()


@rule("4.9")
async def the_last_words_count(peer: Peer) -> None:
    for after_s in (6.05, 6.3):
        timed = [*quiet(6), (after_s, span(0, 5.2, after_s, ANGRY[2]))]
        told = await peer.session(talk(), in_order(*timed))
        totals = told.totals(WORDS)
        assert (totals.received, totals.used, totals.late) == (1, 1, 0)
        (utterance,) = told.utterances
        assert utterance.sentiment < -0.15
        assert statuses(told.windows[-1])[2] == "USED"
