import io
import struct
import tracemalloc
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from contract.timing import NS_PER_S, VIDEO_SLOT_NS, samples_to_ns
from server.media.audio import AudioTrack
from server.media.clip import Clip, ClipAudio, ClipFrame, read_clip
from server.media.errors import MediaError
from server.media.faces import HaarDetector
from server.media.video import FaceTrack, FrameOutcome

MS = 1_000_000
Image = NDArray[np.uint8]
RATE = 48_000


_QUICK = {"libx264": {"preset": "ultrafast"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}


def make_clip(
    container: str = "mp4",
    codecs: tuple[str | None, str | None] = ("libx264", "aac"),
    seconds: float = 2.0,
    start_s: float = 0.0,
    size: tuple[int, int] = (320, 240),
    fps: int = 25,
    pixels: str = "yuv420p",
    path: Path | None = None,
) -> bytes:
    """A clip whose picture grows brighter and whose sound is a tone that starts after one second."""
    file = io.BytesIO()
    # The index can be put first only where the muxer may read what it wrote.
    options = {"movflags": "faststart"} if path else {}
    with av.open(str(path) if path else file, "w", format=container, options=options) as output:
        video = audio = None
        if codecs[0]:
            video = output.add_stream(codecs[0], rate=fps)
            video.width, video.height, video.pix_fmt = *size, pixels
            video.options, video.codec_context.thread_count = _QUICK.get(codecs[0], {}), 1
        if codecs[1]:
            audio = output.add_stream(codecs[1], rate=RATE)
            audio.layout = "stereo"
        if video is not None:
            for number in range(round(seconds * fps)):
                level = round(255 * number / (seconds * fps))
                frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8), format="rgb24")
                frame.pts = number + round(start_s * fps)
                output.mux(video.encode(frame))
            output.mux(video.encode(None))
        if audio is not None:
            at = np.arange(round(seconds * RATE))
            tone = np.where(at >= RATE, 0.5 * np.sin(2 * np.pi * 440 * at / RATE), 0).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE, round(start_s * RATE)
            output.mux(audio.encode(frame))
            output.mux(audio.encode(None))
    return path.read_bytes() if path else file.getvalue()


def read(source: bytes | Path, **bounds: int) -> tuple[Clip, list[ClipAudio], list[ClipFrame]]:
    """Read a clip to its end and check what every clip must keep."""
    with read_clip(source, **bounds) as clip:
        items = list(clip)
    assert all(before.start_offset_ns <= after.start_offset_ns for before, after in pairwise(items))
    audio = [item for item in items if isinstance(item, ClipAudio)]
    frames = [item for item in items if isinstance(item, ClipFrame)]
    slots = [frame.start_offset_ns // VIDEO_SLOT_NS for frame in frames]
    assert len(set(slots)) == len(slots)
    assert min(item.start_offset_ns for item in items) == 0
    return clip, audio, frames


CONTAINERS = [
    ("mp4", ("libx264", "aac")),
    ("matroska", ("libx264", "aac")),
    ("webm", ("libvpx", "libopus")),
    ("avi", ("mpeg4", "pcm_s16le")),
    ("mpegts", ("mpeg2video", "mp2")),
]


@pytest.mark.parametrize(
    ("container", "codecs", "start_s"),
    # AVI has no timestamps of its own: there every stream starts at 0.
    [(*kind, start_s) for kind in CONTAINERS for start_s in (0, 7) if (kind[0], start_s) != ("avi", 7)],
)
def test_audio_and_images_of_usual_files(container: str, codecs: tuple[str, str], start_s: int) -> None:
    clip, audio, frames = read(make_clip(container, codecs, start_s=start_s))
    assert clip.audio is not None
    assert clip.video is not None
    rate = clip.audio.sample_rate
    assert (clip.video.width, clip.video.height) == (320, 240)
    assert len(frames) == 10
    levels = [frame.image.mean() for frame in frames]
    np.testing.assert_allclose(levels, [255 * frame.start_offset_ns / (2 * NS_PER_S) for frame in frames], atol=14)
    samples = np.concatenate([piece.samples for piece in audio])
    assert abs(len(samples) / rate - 2) < 0.1
    assert all(len(piece.samples) < rate // 4 for piece in audio)
    # Sound and picture are in step: the tone starts where the picture has half its brightness.
    onset_s = audio[0].start_offset_ns / NS_PER_S + np.argmax(np.abs(samples) > 0.1) / rate
    assert abs(onset_s - 1) < 0.06


def test_pieces_of_audio_follow_each_other() -> None:
    clip, audio, _ = read(make_clip())
    assert clip.audio is not None
    for before, after in pairwise(audio):
        end_ns = before.start_offset_ns + samples_to_ns(len(before.samples), clip.audio.sample_rate)
        assert abs(after.start_offset_ns - end_ns) < MS


def test_audio_only_and_video_only() -> None:
    clip, audio, frames = read(make_clip(codecs=(None, "aac")))
    assert clip.video is None
    assert audio
    assert not frames
    clip, audio, frames = read(make_clip(codecs=("libx264", None)))
    assert clip.audio is None
    assert not audio
    assert len(frames) == 10


def test_audio_with_a_cover_picture_has_no_video() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as output:
        audio = output.add_stream("libmp3lame", rate=RATE)
        cover = output.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        output.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        frame = av.AudioFrame.from_ndarray(np.zeros((2, RATE), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE, 0
        output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    clip, audio_pieces, _ = read(file.getvalue())
    assert clip.video is None
    assert audio_pieces


@pytest.mark.parametrize(("rate", "expected"), [(96_000, 48_000), (16_000, 16_000), (4_000, 8_000)])
def test_the_rate_stays_within_what_a_session_takes(rate: int, expected: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    file = io.BytesIO()
    sf.write(file, np.stack([tone] * 2, axis=1) * 0.5, rate, format="WAV", subtype="FLOAT")
    clip, audio, _ = read(file.getvalue())
    assert clip.audio is not None
    assert clip.audio.sample_rate == expected
    samples = np.concatenate([piece.samples for piece in audio])
    assert abs(len(samples) - expected) < expected * 0.01
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(expected) / expected)
    middle = slice(expected // 4, expected // 2)
    np.testing.assert_allclose(samples[middle], wanted[middle], atol=0.02)


def test_large_images_are_scaled_down() -> None:
    clip, _, frames = read(make_clip(size=(720, 1280), seconds=0.4))
    assert clip.video is not None
    assert (clip.video.width, clip.video.height) == (360, 640)
    assert frames[0].image.shape == (640, 360, 3)


def test_images_are_turned_upright() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 160, "yuv420p"
        picture = np.zeros((160, 320, 3), np.uint8)
        picture[:, :160] = 255
        for _ in range(5):
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(video.encode(None))
    # The display matrix of the track header, by which a phone says that it was held upright: 90 degrees clockwise.
    upright, turned = (struct.pack(">9i", *values) for values in (_MATRIX, _MATRIX_CLOCKWISE))
    data = file.getvalue()
    header = data.index(b"tkhd")
    at = data.index(upright, header)
    clip, _, frames = read(data[:at] + turned + data[at + len(turned) :])
    assert clip.video is not None
    assert (clip.video.width, clip.video.height) == (160, 320)
    assert frames[0].image[:140].mean() > 240
    assert frames[0].image[180:].mean() < 15


_ONE = 1 << 16
_MATRIX = (_ONE, 0, 0, 0, _ONE, 0, 0, 0, 1 << 30)
_MATRIX_CLOCKWISE = (0, _ONE, 0, -_ONE, 0, 0, 0, 0, 1 << 30)


def test_a_gap_in_the_audio_stays_a_gap() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        audio = output.add_stream("pcm_s16le", rate=16_000)
        audio.layout = "mono"
        for start in (0, 32_000):
            frame = av.AudioFrame.from_ndarray(np.full((1, 8_000), 1000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    _, audio_pieces, _ = read(file.getvalue())
    ends = [piece.start_offset_ns + samples_to_ns(len(piece.samples)) for piece in audio_pieces]
    gaps = [
        (end, after.start_offset_ns)
        for end, after in zip(ends, audio_pieces[1:], strict=False)
        if after.start_offset_ns - end > 20 * MS
    ]
    assert gaps == [(500 * MS, 2000 * MS)]


@pytest.mark.parametrize("source", [b"", b"text, and no media" * 100, bytes(10_000)])
def test_what_is_no_media_file(source: bytes) -> None:
    with pytest.raises(MediaError, match="is not a media file that can be read"):
        read_clip(source)


def test_playlists_open_no_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret.ts").write_bytes(make_clip("mpegts", ("mpeg2video", "mp2")))
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n")
    concat = tmp_path / "list.txt"
    concat.write_text(f"ffconcat version 1.0\nfile {tmp_path}/secret.ts\n")
    for path in (playlist, concat):
        for source in (path, path.read_bytes()):
            with pytest.raises(MediaError, match="is not a media file"):
                read_clip(source)


def test_a_clip_without_streams() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        subtitles = output.add_stream("ass")
        output.start_encoding()
        del subtitles
    with pytest.raises(MediaError, match=r"neither audio nor video|not a media file"):
        read_clip(file.getvalue())


def test_truncated_files(tmp_path: Path) -> None:
    at_the_end = make_clip(seconds=4)
    with pytest.raises(MediaError, match="is not a media file that can be read, or is cut off"):
        read_clip(at_the_end[: len(at_the_end) // 2])
    index_first = make_clip(seconds=4, path=tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match=r"is cut off: its \w+ ends after"):
        read(index_first[: len(index_first) // 2])


def test_bounds(tmp_path: Path) -> None:
    data = make_clip(seconds=3)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(MediaError, match=f"has {len(data)} bytes, at most 1000 are allowed"):
            read_clip(source, max_bytes=1000)
        with pytest.raises(MediaError, match="is 3 s long, at most 2 s are allowed"):
            read_clip(source, max_duration_ns=2 * NS_PER_S)
    # Its header does not say how long it is.
    with pytest.raises(MediaError, match="is longer than 2 s"):
        read(make_clip("mpegts", ("mpeg2video", "mp2"), seconds=3), max_duration_ns=2 * NS_PER_S)


def test_images_of_too_many_pixels() -> None:
    data = make_clip("avi", ("mjpeg", None), seconds=0.1, size=(5000, 2000), pixels="yuvj420p")
    with pytest.raises(MediaError, match="images of 5000 x 2000 have more than"):
        read_clip(data)


def test_only_a_little_is_in_memory() -> None:
    data = make_clip(codecs=("libx264", "aac"), seconds=30, fps=10)
    with read_clip(data) as clip:
        tracemalloc.start()
        for _ in clip:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Thirty seconds of samples and images would be 40 MB.
    assert peak < 4_000_000


def test_what_comes_out_goes_into_the_tracks(detector: HaarDetector, portrait: Image) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        video, audio = output.add_stream("libx264", rate=25), output.add_stream("aac", rate=RATE)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        view = np.ascontiguousarray(portrait[20:260, 60:380])
        for _ in range(50):
            output.mux(video.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        output.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 2 * RATE), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = RATE
        output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    with read_clip(file.getvalue()) as clip:
        _feed(clip, detector, slots=10, seconds=2)


def _feed(clip: Clip, detector: HaarDetector, slots: int, seconds: float) -> None:
    assert clip.audio is not None
    assert clip.video is not None
    hearing, seeing = AudioTrack(clip.audio), FaceTrack(clip.video, detector)
    pieces, outcomes = [], []
    for item in clip:
        if isinstance(item, ClipAudio):
            pieces += hearing.push(item.start_offset_ns, item.data)
        else:
            outcomes.append(seeing.push(item.start_offset_ns, item.data)[0])
    pieces += hearing.flush()
    assert outcomes == [FrameOutcome.USED] * slots
    assert all(after.start_sample == before.start_sample + len(before.samples) for before, after in pairwise(pieces))
    assert abs(sum(len(piece.samples) for piece in pieces) / 16_000 - seconds) < 0.1


@pytest.mark.data
@pytest.mark.parametrize(
    ("pattern", "slots", "seconds"), [("clips/*.mpg", 15, 2.98), ("ravdess/01-01-01-01-01-01-01.mp4", 17, 3.3)]
)
def test_real_clips(data_folder: Path, detector: HaarDetector, pattern: str, slots: int, seconds: float) -> None:
    paths = sorted(data_folder.glob(pattern))
    assert paths
    for path in paths:
        with read_clip(path) as clip:
            _feed(clip, detector, slots, seconds)
