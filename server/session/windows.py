"""Decides which windows are due: first revisions, final ones, and utterances, from the watermarks of the streams."""

from bisect import insort
from dataclasses import dataclass

from contract.timing import HOP_NS, VIDEO_SLOT_NS, WINDOW_NS, video_slots_of, window_end_ns
from server.session.audio_buffer import AudioBuffer
from server.session.messages import Modality
from server.session.pieces import Face, Output, Status, UtterancePlan, WindowPlan
from server.session.transcript import Transcript


@dataclass
class StreamState:
    """How far one modality has got, in event time."""

    is_open: bool
    watermark_ns: int = 0
    """Everything before it has been taken in or is a gap."""
    frontier_ns: int = 0
    """Start of the newest message. It says how far the session has got, whatever the length of the messages is."""
    reached_ns: int = 0
    """End of the last media."""


class Windows:
    """Numbers of the windows that are due next, and the plans for them."""

    def __init__(self, streams: dict[Modality, StreamState], lateness_ns: int, final_only: bool) -> None:
        self._streams = streams
        self._lateness_ns = lateness_ns
        self._final_only = final_only
        self._closed = False
        self._next_first = 0
        self._next_final = 0
        self._first_plans: dict[int, WindowPlan] = {}
        self._utterance = 0
        self._utterance_start_ns = 0
        self._utterance_ends: list[int] = []

    @property
    def final_ns(self) -> int:
        """End of the last window that is final."""
        return self._next_final * HOP_NS

    @property
    def horizon_ns(self) -> int:
        """No window to come looks at anything before this time."""
        return window_end_ns(self._next_final) - WINDOW_NS - VIDEO_SLOT_NS

    def end_utterance(self, offset_ns: int) -> None:
        """Plan an utterance's result once the window that contains its end is final."""
        insort(self._utterance_ends, offset_ns)

    def close(self) -> None:
        """Make every window up to the last media final, and end the utterance that is open, if anything was said."""
        self._closed = True
        end_ns = self._reached_ns()
        if self._utterance_ends or self._utterance or self._streams[Modality.TEXT].reached_ns:
            self.end_utterance(end_ns)

    def advance(
        self,
        audio: AudioBuffer,
        faces: dict[int, Face],
        transcript: Transcript,
        acknowledged: dict[Modality, int],
    ) -> list[Output]:
        """Return the plans that are due now, in the order in which their results must go out."""
        outputs: list[Output] = []
        while self._final_due(window_end_ns(self._next_final)):
            index = self._next_final
            plan = self._plan(index, True, audio, faces, transcript, acknowledged)
            outputs.append(plan)
            self._first_plans.pop(index, None)
            self._next_final += 1
            self._next_first = max(self._next_first, self._next_final)
            outputs += self._utterances_due()
        outputs += self._utterances_due()
        while not self._final_only and self._first_due(window_end_ns(self._next_first)):
            plan = self._plan(self._next_first, False, audio, faces, transcript, acknowledged)
            self._first_plans[self._next_first] = plan
            outputs.append(plan)
            self._next_first += 1
        return outputs

    def _finished(self) -> bool:
        return self._closed and self.final_ns >= self._reached_ns()

    def _reached_ns(self) -> int:
        return max(stream.reached_ns for stream in self._streams.values())

    def _first_due(self, end_ns: int) -> bool:
        """Audio has passed the window's end; without audio, video; without both, text."""
        for modality in Modality:
            stream = self._streams[modality]
            if stream.is_open:
                return stream.watermark_ns >= end_ns
        return False

    def _final_due(self, end_ns: int) -> bool:
        """Every open audio or video stream has passed the window's end, or the foremost has by the lateness."""
        if end_ns >= self._reached_ns() + HOP_NS:
            return False
        text = self._streams[Modality.TEXT]
        live = [stream for modality, stream in self._streams.items() if modality != Modality.TEXT]
        waiting = [stream for stream in live if stream.is_open]
        if not waiting and text.is_open:
            # Text drives the session where neither of the others does, from where those ended.
            return max(text.watermark_ns, *(stream.reached_ns for stream in live)) >= end_ns
        if all(stream.watermark_ns >= end_ns for stream in waiting):
            return True
        return max(stream.frontier_ns for stream in live) >= end_ns + self._lateness_ns

    def _plan(
        self,
        index: int,
        is_final: bool,
        audio: AudioBuffer,
        faces: dict[int, Face],
        transcript: Transcript,
        acknowledged: dict[Modality, int],
    ) -> WindowPlan:
        end_ns = window_end_ns(index)
        in_window = [faces.get(slot) for slot in video_slots_of(end_ns)]
        seen = tuple(face if face is not None and face.time_ns < end_ns else None for face in in_window)
        hops = audio.window(index)
        words = transcript.words_at(end_ns)
        newest_face = max((face.time_ns for face in seen if face is not None), default=-1)
        statuses = {
            Modality.AUDIO: self._status(Modality.AUDIO, hops[-1] is not None, end_ns),
            Modality.VIDEO: self._status(Modality.VIDEO, newest_face >= end_ns - HOP_NS, end_ns),
            Modality.TEXT: Status.USED if words is not None else Status.MISSING,
        }
        before = self._first_plans.get(index)
        same = before is not None and (before.hops, before.faces, before.words, before.statuses) == (
            hops,
            seen,
            words,
            statuses,
        )
        return WindowPlan(
            index,
            revision=0 if before is None else before.revision + 1,
            is_final=is_final,
            start_ns=max(0, end_ns - WINDOW_NS),
            end_ns=end_ns,
            hops=hops,
            faces=seen,
            words=words,
            statuses=statuses,
            acknowledged=acknowledged,
            same_as_before=same,
        )

    def _status(self, modality: Modality, has_data: bool, end_ns: int) -> Status:
        if has_data:
            return Status.USED
        stream = self._streams[modality]
        return Status.LATE if stream.is_open and stream.watermark_ns < end_ns else Status.MISSING

    def _utterances_due(self) -> list[Output]:
        """Utterances whose end lies in a final window; after the close, all of them."""
        due: list[Output] = []
        while self._utterance_ends and (self._finished() or self._utterance_ends[0] <= self.final_ns):
            end_ns = self._utterance_ends.pop(0)
            if end_ns > self._utterance_start_ns:
                due.append(UtterancePlan(self._utterance, self._utterance_start_ns, end_ns))
                self._utterance += 1
                self._utterance_start_ns = end_ns
        return due
