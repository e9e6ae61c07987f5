"""How far a session has got in event time, and whether a stretch of it is complete. It knows no wall clock."""

from dataclasses import dataclass

from contract.timing import HOP_NS, NS_PER_S
from server.session.messages import Modality

LAGGING_NS = NS_PER_S
"""How far behind the foremost a stream must be for first results not to wait for it, whatever the lateness is."""


@dataclass
class StreamState:
    """How far one modality has got, in event time."""

    is_open: bool
    watermark_ns: int = 0
    """Everything before it has been taken in or is a gap. Of text: end of the newest words."""
    frontier_ns: int = 0
    """Start of the newest message. It says how far the session has got, whatever the length of the messages is."""
    reached_ns: int = 0
    """End of the last media."""


class Clock:
    """The streams of a session and what follows from how far they have got."""

    def __init__(self, modalities: frozenset[Modality], lateness_ns: int, is_recorded: bool) -> None:
        self.streams = {modality: StreamState(modality in modalities) for modality in Modality}
        self.declared_ns = 0
        """Latest declared end of an utterance: who declares it has got there."""
        self._lateness_ns = lateness_ns
        self._is_recorded = is_recorded
        self._closed = False

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        for stream in self.streams.values():
            stream.is_open = False

    @property
    def is_closed(self) -> bool:
        """Nothing more will come."""
        return self._closed

    @property
    def reached_ns(self) -> int:
        """End of the last media."""
        audio, video, text = self.streams.values()
        return max(audio.reached_ns, video.reached_ns, text.reached_ns)

    @property
    def foremost_ns(self) -> int:
        """How far whoever is there has got."""
        audio, video, text = self.streams.values()
        return max(self.declared_ns, audio.frontier_ns, video.frontier_ns, text.frontier_ns)

    def has_passed(self, end_ns: int) -> bool:
        """Every open audio or video stream has; without both, the words; nobody waits for a stream that has ended."""
        waiting = [stream for modality, stream in self.streams.items() if stream.is_open and modality != Modality.TEXT]
        text = self.streams[Modality.TEXT]
        if not waiting and text.is_open:
            # Text drives the session where neither of the others does, from where those ended.
            others = (stream.reached_ns for modality, stream in self.streams.items() if modality != Modality.TEXT)
            return max(text.watermark_ns, self.declared_ns, *others) >= end_ns
        return all(stream.watermark_ns >= end_ns for stream in waiting)

    def has_words(self, end_ns: int) -> bool:
        """No more words will come that begin before a time: words come in the order of their begin."""
        text = self.streams[Modality.TEXT]
        return not text.is_open or text.frontier_ns >= end_ns

    def is_over(self, end_ns: int) -> bool:
        """Whatever is missing before a time is not waited for any longer; of a recording all is there in the end."""
        if self._closed or self._is_recorded:
            return self._closed
        return self.foremost_ns >= end_ns + self._lateness_ns

    def is_final(self, end_ns: int) -> bool:
        """What lies before a time is complete, or is not waited for. Words are not waited for here."""
        return self.is_over(end_ns) or (self.has_passed(end_ns) and not self._is_recorded)

    def is_first(self, end_ns: int) -> bool:
        """Audio has passed a time; without audio, video; without both, text."""
        for modality in self.streams:
            if self.is_there(modality):
                return self._got_to_ns(modality) >= end_ns
        return False

    def is_there(self, modality: Modality) -> bool:
        """A stream is open and does not lag far behind."""
        stream = self.streams[modality]
        got_to_ns = max(self._got_to_ns(modality), stream.frontier_ns)
        return stream.is_open and got_to_ns + LAGGING_NS >= self.foremost_ns

    def _got_to_ns(self, modality: Modality) -> int:
        watermark_ns = self.streams[modality].watermark_ns
        return max(watermark_ns, self.declared_ns) if modality == Modality.TEXT else watermark_ns


def hop_end_ns(time_ns: int) -> int:
    """Return the end of the hop that holds the last sample before a time: a hop is encoded when it is full."""
    return -(-time_ns // HOP_NS) * HOP_NS
