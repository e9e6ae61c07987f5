import json
from itertools import pairwise

import pytest
from moodstream.v1.session_pb2 import EndOfUtterance

from client.durations import to_ns
from client.errors import MediaError
from client.transcript import read_transcript, spread

S = 1_000_000_000


def words(transcript):
    return [(word.start_ns / S, word.end_ns / S, word.text) for word in transcript.words]


def test_text_is_spread_evenly_over_the_clip():
    transcript = spread("one two  three\nfour", 2 * S)
    assert words(transcript) == [(0, 0.5, "one"), (0.5, 1, "two"), (1, 1.5, "three"), (1.5, 2, "four")]
    assert transcript.utterance_ends_ns == (2 * S,)


def test_spread_parts_join_without_gaps_at_any_length():
    transcript = spread("a b c d e f g", 1_000_000_007)
    assert transcript.words[0].start_ns == 0
    assert transcript.words[-1].end_ns == 1_000_000_007
    assert all(a.end_ns == b.start_ns for a, b in pairwise(transcript.words))


def test_empty_text_has_no_words():
    assert spread("  ", S).words == ()


def test_txt_is_read_as_text(tmp_path):
    path = tmp_path / "said.txt"
    path.write_text("hello world")
    assert words(read_transcript(str(path), S)) == [(0, 0.5, "hello"), (0.5, 1, "world")]


def test_what_is_no_file_is_text():
    assert [word.text for word in read_transcript("no such file, just words", S).words][-1] == "words"
    assert len(read_transcript("long " * 2000, S).words) == 2000


SRT = """1
00:00:00,500 --> 00:00:01,500
She <i>loves</i>
it.

2
00:01:02,000 --> 00:01:03,000
But no
"""


def test_srt_cues_are_spread_over_their_time(tmp_path):
    path = tmp_path / "said.srt"
    path.write_text(SRT, newline="\r\n")
    transcript = read_transcript(str(path), 0)
    assert [word.text for word in transcript.words] == ["She", "loves", "it.", "But", "no"]
    assert words(transcript)[0][0] == 0.5
    assert words(transcript)[2][1] == 1.5
    assert words(transcript)[3:] == [(62, 62.5, "But"), (62.5, 63, "no")]


def test_vtt_header_notes_and_short_times(tmp_path):
    path = tmp_path / "said.vtt"
    path.write_text("WEBVTT\n\nNOTE nothing\n\nid\n00:01.000 --> 00:02.000 align:start\n<v Ann>hi there\n")
    assert words(read_transcript(str(path), 0)) == [(1, 1.5, "hi"), (1.5, 2, "there")]


@pytest.mark.parametrize("as_list", [True, False])
def test_json(tmp_path, as_list):
    entries = [{"start": 1.5, "end": 2.0, "text": "two"}, {"start": 0.25, "end": 1.0, "text": "zero one"}]
    path = tmp_path / "said.json"
    path.write_text(json.dumps(entries) if as_list else "\n".join(map(json.dumps, entries)) + "\n\n")
    assert words(read_transcript(str(path), 0)) == [(0.25, 0.625, "zero"), (0.625, 1, "one"), (1.5, 2, "two")]


def test_every_sentence_ends_with_its_last_word(tmp_path):
    path = tmp_path / "said.jsonl"
    timed = [(0, 1, "Yes."), (1.4, 2, "No!"), (5, 6, "Dr"), (6, 7, "(really?)"), (7, 8, "Bye.")]
    path.write_text("\n".join(json.dumps({"start": a, "end": b, "text": t}) for a, b, t in timed))
    transcript = read_transcript(str(path), 0)
    assert [end / S for end in transcript.utterance_ends_ns] == [1.0, 2.0, 7.0, 8.0]


def test_messages_are_ordered_and_an_end_goes_after_its_words(tmp_path):
    path = tmp_path / "said.jsonl"
    timed = [(0, 1, "Yes."), (1, 2, "No")]
    path.write_text("\n".join(json.dumps({"start": a, "end": b, "text": t}) for a, b, t in timed))
    messages = list(read_transcript(str(path), 0).messages())
    assert [message.due_ns for message in messages] == [S, S, 2 * S, 2 * S]
    assert [isinstance(message.media, EndOfUtterance) for message in messages] == [False, True, False, True]
    spans = [message.media for message in messages if not isinstance(message.media, EndOfUtterance)]
    assert [span.sequence for span in spans] == [0, 1]
    assert to_ns(spans[0].duration) == S


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", '{"start": 1, "text": "x"}', "expected objects like"),
        ("a.json", "not json", "expected objects like"),
        ("a.json", '[{"start": 2, "end": 1, "text": "x"}]', "words from 2.0 s to 1.0 s"),
        ("a.srt", "1\n00:00:01,000 --> soon\nx\n", "expected two times"),
        ("a.srt", "1\n00:00:02,000 --> 00:00:01,000\nx\n", "words from"),
        ("a.mp4", "x", "unknown format"),
        ("a.txt", None, "can't be read"),
    ],
)
def test_bad_files_say_what_was_expected(tmp_path, name, content, complaint):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(MediaError, match=complaint):
        read_transcript(str(path), S)
