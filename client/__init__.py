"""The Python client of Moodstream, and its command line (`python -m client`). It speaks the wire contract only."""

from client.api import Message, MoodstreamClient
from client.builtin import builtin_clip
from client.clip import Clip, Media, Timed
from client.errors import MediaError, MoodstreamError, NotResumedError, ServerUnreachableError, StreamEndedError
from client.media import MediaOptions, open_clip
from client.pacing import Pacer
from client.transcript import Transcript, Word, read_transcript

__all__ = [
    "Clip",
    "Media",
    "MediaError",
    "MediaOptions",
    "Message",
    "MoodstreamClient",
    "MoodstreamError",
    "NotResumedError",
    "Pacer",
    "ServerUnreachableError",
    "StreamEndedError",
    "Timed",
    "Transcript",
    "Word",
    "builtin_clip",
    "open_clip",
    "read_transcript",
]
