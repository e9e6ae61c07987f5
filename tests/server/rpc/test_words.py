"""No word is lost between a recogniser and the results, through real models."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from moodstream.v1 import clip_pb2, media_pb2, result_pb2, session_pb2

from client import Clip
from client.builtin import write_mp4
from client.clip import Media
from contract.labels import sentiment_of

RATE = 16_000
MS = 1_000_000
HAPPY = (300, 2_600, "I am so happy, this is wonderful and I love it!")
ANGRY = (3_200, 5_700, "This is terrible, I hate it, it makes me so angry.")
BOTH = (HAPPY, ANGRY)

Timed = tuple[float, Media]


def at(ms: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(ms * MS))
    return duration


def span(sequence: int, start: float, end: float, text: str, **others: object) -> media_pb2.TextSpan:
    return media_pb2.TextSpan(
        sequence=sequence,
        start_offset=at(start),
        duration=at(end - start),
        text=text,
        **others,  # type: ignore[arg-type]
    )


def end(ms: float) -> session_pb2.EndOfUtterance:
    return session_pb2.EndOfUtterance(offset=at(ms))


def silence(length_ms: int) -> list[Timed]:
    data = np.zeros(RATE // 10, np.int16).tobytes()
    return [
        (
            100.0 * number + 100,
            media_pb2.AudioChunk(sequence=number, start_offset=at(100 * number), data=data),
        )
        for number in range(length_ms // 100)
    ]


def by_time(timed: Sequence[Timed]) -> list[Media]:
    return [media for _, media in sorted(timed, key=lambda pair: pair[0])]


def configured(lateness_ms: int = 300, **others: object) -> session_pb2.SessionConfig:
    audio = media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=RATE)
    return session_pb2.SessionConfig(
        audio=audio,
        text=media_pb2.TextConfig(),
        lateness=at(lateness_ms),
        **others,  # type: ignore[arg-type]
    )


def finals(responses: Sequence[session_pb2.StreamSentimentResponse], scope: int) -> list[result_pb2.SentimentResult]:
    results = [one.result for one in responses if one.HasField("result")]
    return [one for one in results if one.scope == scope and one.is_final]


def contribution(result: result_pb2.SentimentResult, modality: int) -> float:
    return next(one.contribution for one in result.modalities if one.modality == modality)


def words_of(closed: session_pb2.SessionClosed | clip_pb2.AnalyzeClipResponse) -> session_pb2.ModalityTotals:
    return next(one for one in closed.totals if one.modality == media_pb2.MODALITY_TEXT)


def assert_they_say_what_their_words_say(utterances: Sequence[result_pb2.SentimentResult]) -> None:
    happy, angry = utterances
    assert happy.sentiment > 0.2
    assert angry.sentiment < -0.2
    for one in utterances:
        assert contribution(one, media_pb2.MODALITY_TEXT) > 0.1
        text = next(part for part in one.modalities if part.modality == media_pb2.MODALITY_TEXT)
        assert (text.status, text.coverage) == (result_pb2.MODALITY_STATUS_USED, 1.0)


@pytest.mark.parametrize("lateness_ms", [300, 5_000])
@pytest.mark.parametrize("delay_ms", [0, 800, 2_000])
async def test_sentences_reach_windows_and_utterances(onnx_server, call, delay_ms: int, lateness_ms: int) -> None:
    timed = silence(8_000)
    for sequence, (start, stop, text) in enumerate(BOTH):
        timed += [(stop + delay_ms, span(sequence, start, stop, text)), (stop + delay_ms + 1, end(stop))]
    responses = await call(onnx_server).session(configured(lateness_ms), by_time(timed))
    assert_they_say_what_their_words_say(finals(responses, result_pb2.SCOPE_UTTERANCE))
    shown = [contribution(one, media_pb2.MODALITY_TEXT) for one in finals(responses, result_pb2.SCOPE_WINDOW)]
    assert max(shown) > 0.1
    totals = words_of(responses[-1].closed)
    assert (totals.received, totals.used, totals.late) == (2, 2, 0)


async def test_text_beside_a_muted_microphone_gives_results(onnx_server, call) -> None:
    timed = [(stop, span(number, start, stop, text)) for number, (start, stop, text) in enumerate(BOTH)]
    timed += [(stop + 1, end(stop)) for _, stop, _ in BOTH]
    responses = await call(onnx_server).session(configured(), by_time(timed))
    assert_they_say_what_their_words_say(finals(responses, result_pb2.SCOPE_UTTERANCE))
    closed_at = next(number for number, one in enumerate(responses) if one.HasField("closed"))
    assert closed_at > 5, "windows came as well"


async def test_a_corrected_hypothesis_leaves_no_trace_in_final_results(onnx_server, call) -> None:
    start, stop, text = ANGRY
    guesses = [(start + 300 * number, HAPPY[2]) for number in range(1, 6)]
    timed = silence(8_000)
    timed += [
        (until + 50, span(sequence, start, until, guess, hypothesis_id=7))
        for sequence, (until, guess) in enumerate(guesses)
    ]
    timed.append((stop, span(len(guesses), start, stop, text, hypothesis_id=7, is_final=True)))
    timed.append((stop + 1, end(stop)))
    responses = await call(onnx_server).session(configured(1_000), by_time(timed))
    results = [one.result for one in responses if one.HasField("result")]
    windows = [one for one in results if one.scope == result_pb2.SCOPE_WINDOW]
    assert max(one.sentiment for one in windows if not one.is_final) > 0.2
    [utterance] = finals(responses, result_pb2.SCOPE_UTTERANCE)
    assert utterance.sentiment < -0.2
    said = [one.sentiment for one in windows if one.is_final and contribution(one, media_pb2.MODALITY_TEXT) > 0.3]
    assert said
    assert max(said) < 0
    totals = words_of(responses[-1].closed)
    assert (totals.received, totals.used, totals.replaced, totals.late) == (6, 1, 5, 0)


async def test_every_result_is_whole_and_its_sentiment_and_polarity_agree(
    onnx_server, call, clip: Clip, media: list[Media]
) -> None:
    responses = await call(onnx_server).session(clip.config, media)
    results = [one.result for one in responses if one.HasField("result")] + [responses[-1].closed.summary]
    for one in results:
        negative, neutral, positive = (score.probability for score in one.polarities)
        assert one.sentiment == pytest.approx(sentiment_of([negative, neutral, positive]), abs=1e-6)
        assert sum(part.contribution for part in one.modalities) == pytest.approx(1, abs=1e-5)
        assert all(part.status != result_pb2.MODALITY_STATUS_UNSPECIFIED for part in one.modalities)
    by_scope = {one.scope: one for one in results}
    for scope in (result_pb2.SCOPE_UTTERANCE, result_pb2.SCOPE_SESSION):
        used = [part.status == result_pb2.MODALITY_STATUS_USED for part in by_scope[scope].modalities]
        assert used == [True] * 3
        assert min(part.coverage for part in by_scope[scope].modalities) > 0.5


def shape(results: Sequence[result_pb2.SentimentResult]) -> list[object]:
    return [
        (
            one.index,
            one.start_offset.ToNanoseconds(),
            one.end_offset.ToNanoseconds(),
            [m.status for m in one.modalities],
        )
        for one in results
    ]


def numbers(results: Sequence[result_pb2.SentimentResult]) -> np.ndarray:
    return np.array([[one.sentiment, *(m.contribution for m in one.modalities)] for one in results])


async def test_a_clip_sent_modality_by_modality_is_the_interleaved_one(
    triton_server, call, clip: Clip, media: list[Media]
) -> None:
    sent = [one for one in media if not isinstance(one, session_pb2.EndOfModality)]
    separate = sorted(sent, key=lambda one: type(one).__name__)
    caller = call(triton_server)
    expected, *others = [
        await caller.clip(clip.config, order) for order in (sent, separate, sorted(separate, key=_backwards))
    ]
    assert len(expected.utterances) == 3
    for one in others:
        for name in ("windows", "utterances"):
            assert shape(getattr(one, name)) == shape(getattr(expected, name))
            np.testing.assert_allclose(numbers(getattr(one, name)), numbers(getattr(expected, name)), atol=1e-3)
        assert [totals.late for totals in one.totals] == [0, 0, 0]


def _backwards(media: Media) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in type(media).__name__)


async def test_a_media_files_transcript_is_in_its_utterances(onnx_server, call, tmp_path) -> None:
    write_mp4(tmp_path / "builtin.mp4")
    file = clip_pb2.MediaFile(
        transcript=[span(number, *sentence) for number, sentence in enumerate(BOTH)],
        utterance_ends=[at(stop) for _, stop, _ in reversed(BOTH)],
    )

    async def requests() -> AsyncIterator[clip_pb2.AnalyzeClipRequest]:
        yield clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(file=file))
        yield clip_pb2.AnalyzeClipRequest(data=(tmp_path / "builtin.mp4").read_bytes())

    response = await call(onnx_server).stub.AnalyzeClip(requests())
    ends = [one.end_offset.ToNanoseconds() // MS for one in response.utterances]
    assert ends == [stop for _, stop, _ in BOTH]
    happy, angry = response.utterances
    assert happy.sentiment > angry.sentiment
    assert all(contribution(one, media_pb2.MODALITY_TEXT) > 0.1 for one in response.utterances)
    assert words_of(response).used == 2


async def test_pauses_of_the_voice_end_utterances(onnx_server, call, clip: Clip, media: list[Media]) -> None:
    config = session_pb2.SessionConfig()
    config.CopyFrom(clip.config)
    config.ClearField("text")
    config.ClearField("video")
    config.endpointing.speech_end_timeout.CopyFrom(at(300))
    sound = [one for one in media if isinstance(one, media_pb2.AudioChunk)]
    responses = await call(onnx_server).session(config, sound)
    found = finals(responses, result_pb2.SCOPE_UTTERANCE)
    assert len(found) >= 2
    for one, following in pairwise(found):
        pause = following.start_offset.ToNanoseconds() - one.end_offset.ToNanoseconds()
        assert pause >= 300 * MS
