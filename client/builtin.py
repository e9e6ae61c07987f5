"""The built-in clip: a portrait that moves and a synthesised voice, made of material that ships inside packages.

The portrait is scikit-image's `data.astronaut()` (NASA, public domain) under a slow pan, zoom and tilt; the speech is
`assets/speech.flac` with the times of its words, made by `assets/make_speech.py`. The words go from neutral by
positive to negative while the face keeps smiling, so that one sees what each modality adds.
"""

import functools
import math
from collections.abc import Iterator
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import soundfile as sf
from moodstream.v1.media_pb2 import (
    AUDIO_ENCODING_PCM_S16LE,
    VIDEO_ENCODING_JPEG,
    AudioConfig,
    TextConfig,
    VideoConfig,
)
from moodstream.v1.session_pb2 import SessionConfig
from numpy.typing import NDArray

from client.clip import Clip, Timed
from client.durations import NS_PER_S
from client.errors import MediaError
from client.media import MediaOptions
from client.messages import AUDIO_RATE_HZ, audio_messages, encode_jpeg, frame_messages, merged, thin_out
from client.transcript import Transcript, read_transcript

NAME: Final = "builtin"
FPS: Final = 10
WIDTH: Final = 320
HEIGHT: Final = 240

_AAC_FRAME_SAMPLES: Final = 1024
_FACE_CENTRE: Final = (224.0, 118.0)
"""Centre of the face in the portrait of 512 x 512, in pixels."""
_VIEW_HEIGHT: Final = 250.0
"""How many of the portrait's rows fill the frame on average."""


def builtin_clip(options: MediaOptions | None = None, text: bool = True) -> Clip:
    """Return the built-in clip, about nine seconds of audio, video and words.

    Args:
        options: what to send of audio and video; by default both.
        text: whether to send the words.

    Raises:
        MediaError: scikit-image, which brings the portrait, is not installed; or nothing is to be sent.
    """
    options = options or MediaOptions()
    pcm = speech()
    config = SessionConfig()
    streams: list[Iterator[Timed]] = []
    if text:
        config.text.CopyFrom(TextConfig())
        streams.append(transcript().messages())
    if options.video:
        config.video.CopyFrom(VideoConfig(encoding=VIDEO_ENCODING_JPEG))
        streams.append(frame_messages(thin_out(_jpegs(), options.max_fps)))
    if options.audio:
        config.audio.CopyFrom(AudioConfig(encoding=AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=AUDIO_RATE_HZ))
        streams.append(audio_messages([(0, pcm.tobytes())], options.chunk_ms))
    if not streams:
        raise MediaError(f"{NAME}: nothing to send")
    timed = list(merged(streams))
    return Clip(NAME, config, len(pcm) * NS_PER_S // AUDIO_RATE_HZ, lambda: iter(timed))


def speech() -> NDArray[np.int16]:
    """Return the speech, int16 [samples] at 16 kHz."""
    with (files("client") / "assets" / "speech.flac").open("rb") as file:
        pcm, rate = sf.read(file, dtype="int16")
    assert rate == AUDIO_RATE_HZ
    return np.asarray(pcm, dtype=np.int16)


def transcript() -> Transcript:
    """Return the words of the speech with their times."""
    path = files("client") / "assets" / "speech.jsonl"
    return read_transcript(str(path), 0)


def frames() -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield time (ns) and image, uint8 [240, 320, 3], BGR, of every frame; raises MediaError without scikit-image."""
    image = _portrait()
    count = len(speech()) * FPS // AUDIO_RATE_HZ
    for index in range(count):
        view = _view(index / FPS)
        frame = cv2.warpAffine(image, view, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
        yield index * NS_PER_S // FPS, np.asarray(frame, dtype=np.uint8)


def write_mp4(path: str | Path) -> None:
    """Write the clip as H.264 and AAC, to be analysed as any file; raises MediaError when that fails."""
    try:
        with av.open(str(path), "w", format="mp4") as container:
            video = container.add_stream("libx264", rate=FPS, options={"crf": "20"})
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            audio = container.add_stream("aac", rate=AUDIO_RATE_HZ, layout="mono")
            for _, image in frames():
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(video.encode(None))
            # AAC codes whole frames: a last, partial one would be padded beyond the end. It is silent and left out.
            samples = speech()
            samples = samples[: len(samples) // _AAC_FRAME_SAMPLES * _AAC_FRAME_SAMPLES]
            block = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
            # With a time, the encoder's lead-in gets a negative one, which players and decoders cut off.
            block.sample_rate, block.pts, block.time_base = AUDIO_RATE_HZ, 0, Fraction(1, AUDIO_RATE_HZ)
            container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    except (OSError, av.FFmpegError) as error:
        raise MediaError(f"{path} can't be written: {error}") from None


@functools.cache
def _portrait() -> NDArray[np.uint8]:
    try:
        from skimage.data import astronaut
    except ImportError:
        raise MediaError("the built-in clip needs scikit-image: pip install 'moodstream[loadtest]'") from None
    portrait: NDArray[np.uint8] = astronaut()  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(portrait[:, :, ::-1])


def _view(time_s: float) -> NDArray[np.float64]:
    """Return the affine map [2, 3] from portrait to frame: someone who nods and leans a little while speaking."""
    zoom = HEIGHT / _VIEW_HEIGHT * (1 + 0.08 * math.sin(2 * math.pi * time_s / 5.3))
    tilt_degrees = 4 * math.sin(2 * math.pi * time_s / 3.7)
    view = np.asarray(cv2.getRotationMatrix2D(_FACE_CENTRE, tilt_degrees, zoom), dtype=np.float64)
    sway = 14 * math.sin(2 * math.pi * time_s / 4.1)
    nod = 6 * math.sin(2 * math.pi * time_s / 1.9)
    view[:, 2] += np.array([WIDTH / 2 + sway - _FACE_CENTRE[0], HEIGHT * 0.46 + nod - _FACE_CENTRE[1]])
    return view


@functools.cache
def _jpegs() -> tuple[tuple[int, bytes], ...]:
    return tuple((time_ns, encode_jpeg(image)) for time_ns, image in frames())
