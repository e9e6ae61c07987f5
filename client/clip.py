"""A clip: media messages in the order in which a live source would have sent them.

It knows neither files nor the network: `media` and `builtin` make clips, `api` sends them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from moodstream.v1.clip_pb2 import AnalyzeClipRequest
from moodstream.v1.media_pb2 import AudioChunk, TextSpan, VideoFrame
from moodstream.v1.session_pb2 import EndOfModality, EndOfUtterance, SessionConfig, StreamSentimentRequest

Media = AudioChunk | TextSpan | VideoFrame | EndOfModality | EndOfUtterance
"""What a session sends between its configuration and its close."""


@dataclass(frozen=True)
class Timed:
    """A message, and the session time at which all of its media has happened and a live source could send it."""

    due_ns: int
    media: Media


@dataclass(frozen=True)
class Clip:
    """Everything that a session sends, and when."""

    name: str
    config: SessionConfig
    duration_ns: int
    open: Callable[[], Iterator[Timed]]
    """Starts a fresh pass over the messages, ordered by `due_ns`. A pass may decode as it goes and so block for
    milliseconds: take it to a thread. It raises MediaError where the media can't be decoded."""


def stream_request(media: Media) -> StreamSentimentRequest:
    """Wrap a message for `StreamSentiment`; raises TypeError for anything that is not media."""
    match media:
        case AudioChunk():
            return StreamSentimentRequest(audio=media)
        case VideoFrame():
            return StreamSentimentRequest(video=media)
        case TextSpan():
            return StreamSentimentRequest(text=media)
        case EndOfModality():
            return StreamSentimentRequest(end_of_modality=media)
        case EndOfUtterance():
            return StreamSentimentRequest(end_of_utterance=media)
    raise TypeError(f"a session sends AudioChunk, VideoFrame, TextSpan or an end, not {type(media).__name__}")


def clip_request(media: Media) -> AnalyzeClipRequest:
    """Wrap a message for `AnalyzeClip`; raises TypeError for anything that is not media."""
    match media:
        case AudioChunk():
            return AnalyzeClipRequest(audio=media)
        case VideoFrame():
            return AnalyzeClipRequest(video=media)
        case TextSpan():
            return AnalyzeClipRequest(text=media)
        case EndOfModality():
            return AnalyzeClipRequest(end_of_modality=media)
        case EndOfUtterance():
            return AnalyzeClipRequest(end_of_utterance=media)
    raise TypeError(f"a clip sends AudioChunk, VideoFrame, TextSpan or an end, not {type(media).__name__}")
