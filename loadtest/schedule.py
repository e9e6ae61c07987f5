"""What every session of a load test sends, and when: a clip in an endless loop, made into bytes once for all sessions.

It knows neither the network nor the clock. All sessions of a schedule share the same bytes, so that sending costs the
generator next to nothing but the write itself.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from moodstream.v1.media_pb2 import AudioChunk, TextSpan, VideoFrame
from moodstream.v1.session_pb2 import (
    CloseSession,
    EndOfModality,
    EndOfUtterance,
    ResultConfig,
    SessionConfig,
    StreamSentimentRequest,
)
from numpy.typing import NDArray

from client.clip import Clip, Timed, stream_request
from client.durations import NS_PER_S, to_duration, to_ns
from client.messages import AUDIO_RATE_HZ, CHUNK_MS, audio_messages, frame_messages, merged
from client.transcript import Transcript, Word
from contract.timing import HOP_NS

CLOSE: Final = StreamSentimentRequest(close=CloseSession()).SerializeToString()
_KEPT_LOOPS: Final = 4


@dataclass(frozen=True)
class Send:
    """One message as it goes over the wire, and the session time at which it is to be sent."""

    due_ns: int
    data: bytes
    is_media: bool
    """Not the end of an utterance: the server's totals count media only."""


class Schedule:
    """A clip, repeated without a seam and cut to a length that ends with a window."""

    def __init__(self, clip: Clip, seconds: float, *, final_only: bool = False, chunk_ms: int = CHUNK_MS) -> None:
        """Take a clip apart.

        Args:
            clip: what to send. It is padded with silence to a multiple of the hop, which is the period of the loop.
            seconds: length of a session, rounded down to a multiple of the hop.
            final_only: ask for final results only.
            chunk_ms: length of an audio message.

        Raises:
            ValueError: a session would be shorter than one hop.
        """
        self.name = clip.name
        self.duration_ns = int(seconds * NS_PER_S) // HOP_NS * HOP_NS
        if self.duration_ns <= 0:
            raise ValueError(f"a session must last at least {HOP_NS / NS_PER_S} s, got {seconds}")
        self.windows = self.duration_ns // HOP_NS
        config = SessionConfig(results=ResultConfig(final_only=final_only))
        config.MergeFrom(clip.config)
        self.config = StreamSentimentRequest(config=config).SerializeToString()
        self._period_ns = -(-clip.duration_ns // HOP_NS) * HOP_NS
        self._messages = self._one_period([timed.media for timed in clip.open()], chunk_ms)
        kinds = [type(timed.media) for timed in self._messages]
        self._counts = {kind: kinds.count(kind) for kind in (AudioChunk, VideoFrame, TextSpan)}
        self._loops: dict[int, list[Send]] = {}
        pace = next((kind for kind in (AudioChunk, VideoFrame, TextSpan) if self._counts[kind]), None)
        self._paces = [timed.due_ns for timed in self._messages if type(timed.media) is pace]

    def sent_ns(self, end_ns: int) -> int:
        """Return when the message is due that completes a window ending at `end_ns`.

        It carries the window's last sample; of a session without audio it is the first frame, or word, that shows that
        the window is over.
        """
        loop, rest_ns = divmod(end_ns, self._period_ns)
        if rest_ns == 0:
            return end_ns
        following = bisect_left(self._paces, rest_ns)
        due_ns = self._paces[following] if following < len(self._paces) else self._period_ns
        return min(self.duration_ns, loop * self._period_ns + due_ns)

    def sends(self) -> Iterator[Send]:
        """Yield a session's messages between its configuration and its close, in the order in which they are due."""
        for loop in range(-(-self.duration_ns // self._period_ns)):
            yield from self._loop(loop)

    def _one_period(self, media: list[object], chunk_ms: int) -> list[Timed]:
        """Return the messages of the first loop: audio padded to the period, and an end of the last utterance."""
        streams: list[Iterator[Timed]] = []
        spans = [one for one in media if isinstance(one, TextSpan)]
        if spans:
            words = tuple(_word(span) for span in spans if _word(span).end_ns <= self._period_ns)
            ends = tuple(to_ns(one.offset) for one in media if isinstance(one, EndOfUtterance))
            streams.append(Transcript(words, (*ends, self._period_ns)).messages())
        frames = [(to_ns(one.start_offset), one.data) for one in media if isinstance(one, VideoFrame)]
        if frames:
            streams.append(frame_messages(frame for frame in frames if frame[0] < self._period_ns))
        chunks = [one for one in media if isinstance(one, AudioChunk)]
        if chunks:
            streams.append(audio_messages([(0, self._pcm(chunks).tobytes())], chunk_ms))
        return [timed for timed in merged(streams) if not isinstance(timed.media, EndOfModality)]

    def _pcm(self, chunks: list[AudioChunk]) -> NDArray[np.int16]:
        pcm = np.zeros(self._period_ns * AUDIO_RATE_HZ // NS_PER_S, dtype="<i2")
        for chunk in chunks:
            start = round(to_ns(chunk.start_offset) * AUDIO_RATE_HZ / NS_PER_S)
            samples = np.frombuffer(chunk.data, dtype="<i2")[: len(pcm) - start]
            pcm[start : start + len(samples)] = samples
        return pcm

    def _loop(self, loop: int) -> list[Send]:
        """Sessions run nearly in step, so the newest loops are all that is needed."""
        if loop not in self._loops:
            self._loops[loop] = [send for timed in self._messages if (send := self._shifted(timed, loop)) is not None]
            self._loops.pop(loop - _KEPT_LOOPS, None)
        return self._loops[loop]

    def _shifted(self, timed: Timed, loop: int) -> Send | None:
        """Return a message of the first loop as it is sent in another one; None beyond the session's end."""
        shift_ns = loop * self._period_ns
        due_ns = min(timed.due_ns + shift_ns, self.duration_ns)
        request = stream_request(timed.media)
        if isinstance(timed.media, EndOfUtterance):
            request.end_of_utterance.offset.CopyFrom(to_duration(to_ns(timed.media.offset) + shift_ns))
            is_beyond = timed.due_ns + shift_ns > self.duration_ns
            return None if is_beyond else Send(due_ns, request.SerializeToString(), is_media=False)
        kind = request.WhichOneof("request")
        assert kind is not None
        media: AudioChunk | VideoFrame | TextSpan = getattr(request, kind)
        start_ns = to_ns(media.start_offset) + shift_ns
        if start_ns >= self.duration_ns or (isinstance(media, TextSpan) and timed.due_ns + shift_ns > self.duration_ns):
            return None
        if isinstance(media, AudioChunk):
            media.data = media.data[: 2 * ((self.duration_ns - start_ns) * AUDIO_RATE_HZ // NS_PER_S)]
        media.sequence += loop * self._counts[type(media)]
        media.start_offset.CopyFrom(to_duration(start_ns))
        return Send(due_ns, request.SerializeToString(), is_media=True)


def _word(span: TextSpan) -> Word:
    start_ns = to_ns(span.start_offset)
    return Word(start_ns, start_ns + to_ns(span.duration), span.text)
