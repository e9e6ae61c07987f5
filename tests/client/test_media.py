import os
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile as sf
from moodstream.v1.media_pb2 import AudioChunk, TextSpan, VideoFrame
from moodstream.v1.session_pb2 import EndOfModality, EndOfUtterance

from client.builtin import builtin_clip, speech, write_mp4
from client.durations import to_ns
from client.errors import MediaError
from client.media import MediaOptions, open_clip, probe, transcript_of

S = 1_000_000_000


@pytest.fixture(scope="module")
def mp4(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "builtin.mp4"
    write_mp4(path)
    return path


def of_kind(clip, kind):
    return [timed.media for timed in clip.open() if isinstance(timed.media, kind)]


def samples_of(clip):
    return np.frombuffer(b"".join(chunk.data for chunk in of_kind(clip, AudioChunk)), dtype="<i2")


def test_the_builtin_clip_is_the_same_every_time():
    first, second = [[timed.media.SerializeToString(True) for timed in builtin_clip().open()] for _ in range(2)]
    assert first == second


def test_the_builtin_clip_has_all_that_a_session_can_send():
    clip = builtin_clip()
    assert 8 * S <= clip.duration_ns <= 10 * S
    assert clip.duration_ns % (S // 2) == 0
    assert {type(timed.media) for timed in clip.open()} == {
        AudioChunk,
        VideoFrame,
        TextSpan,
        EndOfModality,
        EndOfUtterance,
    }
    assert len(of_kind(clip, EndOfUtterance)) == 3
    assert np.array_equal(samples_of(clip), speech())
    words = of_kind(clip, TextSpan)
    assert all(to_ns(a.start_offset) + to_ns(a.duration) <= to_ns(b.start_offset) for a, b in pairwise(words))
    image = cv2.imdecode(np.frombuffer(of_kind(clip, VideoFrame)[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (240, 320, 3)


def test_the_builtin_words_are_spoken_when_they_say_and_silence_lies_between_sentences():
    loudness = np.abs(speech().astype(np.float64))
    words = of_kind(builtin_clip(), TextSpan)

    def loud(start_ns, end_ns):
        return loudness[start_ns * 16 // 1_000_000 : end_ns * 16 // 1_000_000].mean()

    for word in words:
        start_ns = to_ns(word.start_offset)
        assert loud(start_ns, start_ns + to_ns(word.duration)) > 500, word.text
    for before, after in pairwise(words):
        if before.text[-1] in ".!":
            assert loud(to_ns(before.start_offset) + to_ns(before.duration), to_ns(after.start_offset)) < 50


def test_messages_of_a_file_are_ordered_and_offsets_grow(mp4):
    timed = list(open_clip(mp4, transcript="a b c").open())
    assert [message.due_ns for message in timed] == sorted(message.due_ns for message in timed)
    for kind in (AudioChunk, VideoFrame, TextSpan):
        media = [message.media for message in timed if isinstance(message.media, kind)]
        assert [one.sequence for one in media] == list(range(len(media)))
        offsets = [to_ns(one.start_offset) for one in media]
        assert offsets == sorted(set(offsets))


def test_audio_chunks_join_without_gaps_and_sound_like_the_source(mp4):
    clip = open_clip(mp4)
    position_ns = 0
    for chunk in of_kind(clip, AudioChunk):
        assert to_ns(chunk.start_offset) == position_ns
        position_ns += len(chunk.data) // 2 * 62_500
    decoded, source = samples_of(clip).astype(np.float64), speech().astype(np.float64)
    assert abs(len(decoded) - len(source)) < 2048
    shift = int(np.argmax(np.correlate(decoded[16_000:48_000], source[18_000:46_000], "valid"))) - 2000
    assert abs(shift) <= 16, "AAC must not move the audio by more than a millisecond"


def test_frames_keep_their_times(mp4):
    times = [to_ns(frame.start_offset) for frame in of_kind(open_clip(mp4), VideoFrame)]
    assert np.allclose(times, np.arange(90) * 1e8, atol=1e6)
    assert len(of_kind(open_clip(mp4, options=MediaOptions(max_fps=5)), VideoFrame)) == 45


def test_modalities_can_be_left_out(mp4):
    sound = open_clip(mp4, options=MediaOptions(video=False))
    assert not sound.config.HasField("video")
    assert not of_kind(sound, VideoFrame)
    with pytest.raises(MediaError, match="nothing to send"):
        open_clip(mp4, options=MediaOptions(audio=False, video=False))


def test_a_wide_video_is_made_smaller(tmp_path):
    path = tmp_path / "wide.mp4"
    write_video(path, 1280, 720, 5)
    image = cv2.imdecode(np.frombuffer(of_kind(open_clip(path), VideoFrame)[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (360, 640, 3)


def test_a_stereo_file_at_another_rate_becomes_16_khz_mono(tmp_path):
    path = tmp_path / "tone.wav"
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    sf.write(path, np.stack([tone, np.zeros_like(tone)], axis=1), 44_100)
    clip = open_clip(path)
    samples = samples_of(clip)
    assert not clip.config.HasField("video")
    assert abs(len(samples) - 16_000) <= 1
    assert int(np.argmax(np.abs(np.fft.rfft(samples)))) == 440


def test_a_gap_in_the_recording_is_a_gap_of_offsets(tmp_path):
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for start_s in (0, 3):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16_000), 1000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start_s * 16_000
            container.mux(stream.encode(frame))
    offsets = [to_ns(chunk.start_offset) / S for chunk in of_kind(open_clip(path), AudioChunk)]
    assert offsets == pytest.approx([*np.arange(0, 1, 0.1), *np.arange(3, 4, 0.1)])


def test_the_length_of_a_stream_without_header_is_measured(tmp_path):
    path = tmp_path / "live.ts"
    write_video(path, 64, 48, 20, container_format="mpegts")
    assert probe(path).duration_ns == pytest.approx(2 * S, abs=2e8)
    assert probe(path.read_bytes()).duration_ns == probe(path).duration_ns


def test_transcript_of_a_file_is_as_long_as_the_file(mp4):
    assert transcript_of(mp4, "a b").words[-1].end_ns == probe(mp4).duration_ns


@pytest.mark.parametrize("content", [None, b"", b"not a media file" * 100])
def test_unreadable_files_say_so_in_one_line(tmp_path, content):
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=r"bad\.mp4 can't be read") as caught:
        open_clip(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"chunk_ms": 5}, {"chunk_ms": 1001}, {"max_fps": 0}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MediaOptions(**options)


@pytest.mark.data
@pytest.mark.skipif("MOODSTREAM_DATA" not in os.environ, reason="needs MOODSTREAM_DATA")
@pytest.mark.parametrize("name", ["clips/grid_bbaf2n.mpg", "ravdess/01-01-01-01-01-01-01.mp4"])
def test_real_clips_have_audio_and_video_for_their_whole_length(name):
    clip = open_clip(Path(os.environ["MOODSTREAM_DATA"]) / name)
    assert len(samples_of(clip)) / 16_000 == pytest.approx(clip.duration_ns / S, abs=0.05)
    frames = [to_ns(frame.start_offset) for frame in of_kind(clip, VideoFrame)]
    assert 14 <= len(frames) / (clip.duration_ns / S) <= 15.5
    assert frames[-1] >= clip.duration_ns - 0.15 * S


def write_video(path, width, height, count, container_format=None):
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            image = np.full((height, width, 3), index * 10, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
