import pytest
from moodstream.v1.media_pb2 import MODALITY_AUDIO, MODALITY_TEXT, MODALITY_VIDEO, AudioChunk, TextSpan
from moodstream.v1.result_pb2 import (
    EMOTION_SAD,
    EMOTION_SURPRISE,
    MODALITY_STATUS_DROPPED,
    MODALITY_STATUS_LATE,
    MODALITY_STATUS_MISSING,
    MODALITY_STATUS_USED,
    POLARITY_NEGATIVE,
    POLARITY_POSITIVE,
    EmotionScore,
    ModalityResult,
    PolarityScore,
    SentimentResult,
)
from moodstream.v1.session_pb2 import EndOfUtterance
from rich.cells import cell_len

from client.durations import to_duration
from client.heard import Heard
from client.latency import Latencies
from client.rows import bar, clock, header, modality_cell, spark, top, utterance_row, window_row

S = 1_000_000_000


def window(sentiment=0.42, **fields):
    return SentimentResult(
        end_offset=to_duration(S * 5 // 2),
        is_final=True,
        sentiment=sentiment,
        polarities=[
            PolarityScore(polarity=POLARITY_NEGATIVE, probability=0.1),
            PolarityScore(polarity=POLARITY_POSITIVE, probability=0.9),
        ],
        emotions=[
            EmotionScore(emotion=EMOTION_SURPRISE, probability=0.99),
            EmotionScore(emotion=EMOTION_SAD, probability=0.01),
        ],
        modalities=[
            ModalityResult(modality=MODALITY_AUDIO, status=MODALITY_STATUS_USED, contribution=0.75),
            ModalityResult(modality=MODALITY_VIDEO, status=MODALITY_STATUS_MISSING, contribution=0.25),
            ModalityResult(modality=MODALITY_TEXT, status=MODALITY_STATUS_LATE),
        ],
        **fields,
    )


@pytest.mark.parametrize(
    ("sentiment", "drawn"),
    [
        (0.0, "     │     "),
        (1.0, "     │█████"),
        (-1.0, "█████│     "),
        (0.3, "     │█▌   "),
        (-0.3, "   ▐█│     "),
        (0.04, "     │     "),
    ],
)
def test_bar(sentiment, drawn):
    assert bar(sentiment).plain == drawn


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.5, "0.5 s"), (99.5, "99.5 s"), (754.5, "12:34.5"), (3723, "1:02:03")]
)
def test_clock(seconds, shown):
    assert clock(int(seconds * S)) == shown


def test_spark_has_a_block_per_window():
    assert spark([-1.0, None, 0.0, 1.0]).plain == "▁·▅█"


def test_top():
    assert top([]) is None
    assert top(window().polarities).polarity == POLARITY_POSITIVE


LONG = "a much longer sentence than any column of words can show at once"


@pytest.mark.parametrize("width", [80, 89, 90, 100, 120])
@pytest.mark.parametrize("words", ["", "short", LONG, "x" * 99, "日本語 " * 20])
def test_every_row_fills_the_width(width, words):
    assert cell_len(header(width).plain) == width
    assert cell_len(window_row(window(), words, "", 12_000_000, width).plain) == width
    assert cell_len(window_row(window(), words, "", None, width).plain) == width
    assert cell_len(window_row(SentimentResult(), words, "", 0, width).plain) == width


def test_a_row_says_everything():
    row = window_row(window(), "she loves it", "she loves", 41_400_000, 100).plain
    time, words, rest = row[:7], row[7:35], row[35:]
    assert (time, words.strip()) == (" 2.5 s ", "she loves it")
    assert rest == "     │██    +0.42 positive surprise 99%   75% (25%)  late   41 ms"


def test_new_words_are_emphasised():
    row = window_row(window(), "she loves it", "she loves", None, 100)
    assert [row.plain[span.start : span.end].strip() for span in row.spans if span.style == "bold"] == ["it"]


def test_long_texts_keep_their_end():
    row = window_row(window(), "and she said that she really loves it", "", None, 100).plain
    assert "… that she really loves it" in row or "… she really loves it" in row
    assert "and she said" not in row


def test_a_window_without_data_says_so():
    assert "no data" in window_row(SentimentResult(), "", "", None, 100).plain


def test_utterance_row():
    row = utterance_row(window(start_offset=to_duration(S)), 100).plain
    assert "utterance 1: 1.0 to 2.5 s" in row
    assert "+0.42" in row
    assert " 1.0 to 2.5 s " in utterance_row(window(start_offset=to_duration(S)), 80).plain


@pytest.mark.parametrize(
    ("status", "contribution", "shown"),
    [
        (MODALITY_STATUS_USED, 0.5, "50%"),
        (MODALITY_STATUS_USED, None, "0%"),
        (MODALITY_STATUS_MISSING, None, "-"),
        (MODALITY_STATUS_MISSING, 0.2, "(20%)"),
        (MODALITY_STATUS_LATE, 0.2, "late"),
        (MODALITY_STATUS_DROPPED, 0.2, "drop"),
    ],
)
def test_modality_cell(status, contribution, shown):
    modality = ModalityResult(modality=MODALITY_AUDIO, status=status, contribution=contribution)
    assert modality_cell(SentimentResult(modalities=[modality]), MODALITY_AUDIO).plain == shown.rjust(5)


def test_heard_are_the_words_of_the_utterance_that_ended_by_the_windows_end():
    heard = Heard()
    heard.note(AudioChunk())
    for start_ms, ms, text in ((0, 1000, "yes."), (1200, 800, "but"), (2000, 600, "no")):
        start, duration = to_duration(start_ms * S // 1000), to_duration(ms * S // 1000)
        heard.note(TextSpan(start_offset=start, duration=duration, text=text))
    heard.note(EndOfUtterance(offset=to_duration(int(1.2 * S))))
    at = {end: heard.at(int(end * S)) for end in (0.5, 1.0, 1.2, 1.5, 2.0, 3.0)}
    assert at == {0.5: "", 1.0: "yes.", 1.2: "yes.", 1.5: "yes.", 2.0: "but", 3.0: "but no"}


def test_latencies():
    latencies = Latencies()
    latencies.add(None)
    assert str(latencies) == "not measured"
    for ms in (10, 30, 20):
        latencies.add(ms * 1_000_000)
    assert str(latencies) == "p50 20 ms, max 30 ms"
