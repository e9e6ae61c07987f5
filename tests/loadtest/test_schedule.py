from itertools import pairwise

import numpy as np
import pytest
from moodstream.v1.media_pb2 import AudioConfig
from moodstream.v1.session_pb2 import SessionConfig, StreamSentimentRequest

from client.builtin import builtin_clip, speech
from client.clip import Clip
from client.durations import to_ns
from client.media import MediaOptions
from client.messages import audio_messages
from loadtest.schedule import Schedule

S = 1_000_000_000


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return Schedule(builtin_clip(MediaOptions(max_fps=10)), 20.7)


def requests(schedule, kind):
    parsed = [StreamSentimentRequest.FromString(send.data) for send in schedule.sends()]
    return [getattr(request, kind) for request in parsed if request.WhichOneof("request") == kind]


def test_a_session_ends_with_a_window(schedule):
    assert schedule.duration_ns == 20_500_000_000
    assert schedule.windows == 41


def test_messages_are_ordered_and_none_is_beyond_the_end(schedule):
    dues = [send.due_ns for send in schedule.sends()]
    assert dues == sorted(dues)
    assert dues[-1] == schedule.duration_ns


def test_audio_goes_on_without_a_seam(schedule):
    chunks = requests(schedule, "audio")
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    pcm = np.frombuffer(b"".join(chunk.data for chunk in chunks), dtype="<i2")
    assert [to_ns(chunk.start_offset) for chunk in chunks] == [number * S // 10 for number in range(205)]
    assert np.array_equal(pcm, np.tile(speech(), 3)[:328_000])


def test_frames_and_words_go_on_in_the_next_loop(schedule):
    for kind, count in (("video", 205), ("text", 2 * 23)):
        media = requests(schedule, kind)
        assert [one.sequence for one in media] == list(range(len(media)))
        offsets = [to_ns(one.start_offset) for one in media]
        assert all(before < after for before, after in pairwise(offsets))
        assert offsets[-1] < schedule.duration_ns
        assert len(media) >= count


def test_every_loop_is_an_utterance_boundary(schedule):
    ends = [to_ns(end.offset) / S for end in requests(schedule, "end_of_utterance")]
    assert 9.0 in ends
    assert 18.0 in ends
    assert ends == sorted(ends)


def test_sessions_share_the_bytes(schedule):
    first, second = [iter(schedule.sends()) for _ in range(2)]
    assert all(next(first) is next(second) for _ in range(250))


def test_a_clip_is_padded_with_silence_to_a_whole_hop():
    pcm = np.full(4_000, 7, dtype="<i2").tobytes()
    config = SessionConfig(audio=AudioConfig(sample_rate_hertz=16_000))
    clip = Clip("short", config, S // 4, lambda: audio_messages([(0, pcm)]))
    chunks = requests(Schedule(clip, 1.0), "audio")
    samples = np.frombuffer(b"".join(chunk.data for chunk in chunks), dtype="<i2")
    assert samples.tolist() == ([7] * 4000 + [0] * 4000) * 2


@pytest.mark.parametrize(
    ("options", "chunk_ms", "sent"),
    [
        ({}, 100, {0.5: 0.5, 1.0: 1.0, 9.0: 9.0, 9.5: 9.5, 20.0: 20.0}),
        ({}, 200, {0.5: 0.6, 1.0: 1.0, 9.0: 9.0, 9.5: 9.6, 20.5: 20.5}),
        ({}, 70, {0.5: 0.56, 9.5: 9.56}),
        ({"audio": False, "max_fps": 4.0}, 100, {0.5: 0.5, 0.75: 0.8, 9.5: 9.5}),
    ],
)
def test_latency_counts_from_the_message_that_carries_the_windows_last_sample(options, chunk_ms, sent):
    schedule = Schedule(builtin_clip(MediaOptions(**options)), 20.5, chunk_ms=chunk_ms)
    assert {end: schedule.sent_ns(int(end * S)) / S for end in sent} == sent
    dues = {send.due_ns / S for send in schedule.sends()}
    assert set(sent.values()) <= dues


def test_the_last_chunk_is_cut_at_the_end():
    chunks = requests(Schedule(builtin_clip(), 2.5, chunk_ms=1000), "audio")
    assert [len(chunk.data) // 2 for chunk in chunks] == [16_000, 16_000, 8_000]


def test_configuration():
    config = StreamSentimentRequest.FromString(Schedule(builtin_clip(), 1.0, final_only=True).config).config
    assert config.results.final_only
    assert config.audio.sample_rate_hertz == 16_000


def test_a_session_has_at_least_one_window():
    with pytest.raises(ValueError, match="at least"):
        Schedule(builtin_clip(), 0.3)
