"""Decides what is an utterance and when its results are due.

An utterance ends where the client declares it, where a pause of the voice begins, or with the session. A stretch in
which nobody says anything is none. Its result is due when its own media are there; it is revised when words come late,
and final when the time for them is over.
"""

from bisect import insort
from dataclasses import replace

from contract.timing import WINDOW_NS
from server.session.clock import Clock, hop_end_ns
from server.session.face_buffer import main_speaker
from server.session.messages import Modality
from server.session.pieces import UtterancePlan
from server.session.store import Store, status_of
from server.session.voice import SPOKEN_NS


class Utterances:
    """Ends of utterances to come, and the plans for them. Only the oldest one has results before its final one."""

    def __init__(self, clock: Clock, store: Store, final_only: bool) -> None:
        self._clock = clock
        self._store = store
        self._final_only = final_only
        self._index = 0
        self._begin_ns = 0
        """End of the last utterance that is final."""
        self._ends: list[int] = []
        self._known_ns: dict[int, int] = {}
        """Where the session was when an end became known: the time for late words begins there."""
        self._has_ends = False
        self._before: UtterancePlan | None = None

    def end(self, offset_ns: int) -> None:
        """Note that an utterance ends. An end before that of an utterance that is final is of no use."""
        self._has_ends = True
        if offset_ns > self._begin_ns and offset_ns not in self._ends:
            insort(self._ends, offset_ns)
            self._known_ns[offset_ns] = max(offset_ns, self._clock.foremost_ns)

    def close(self) -> None:
        """End the utterance that is open, if anything was said since the last end."""
        end_ns = self._clock.reached_ns
        # The last words may begin where the session ends.
        end_ns += self._has_words(end_ns, end_ns + 1)
        begin_ns = self._ends[-1] if self._ends else self._begin_ns
        was_wordless = self._has_ends and not self._has_words(0, begin_ns)
        if self._has_words(begin_ns, end_ns) or (was_wordless and self._has_voice(begin_ns, end_ns)):
            self.end(end_ns)

    def needed_ns(self) -> int:
        """Return from where on audio and faces are needed for utterances to come."""
        now_ns = self._ends[0] if self._ends else self._clock.foremost_ns
        return self._start_ns(self._begin_ns, max(now_ns, self._begin_ns), default=now_ns - WINDOW_NS)

    def advance(self) -> list[UtterancePlan]:
        """Return the plans that are due now, in order."""
        plans: list[UtterancePlan] = []
        while self._ends and self._final_due(self._begin_ns, self._ends[0]):
            end_ns = self._ends.pop(0)
            del self._known_ns[end_ns]
            if self._is_said(self._begin_ns, end_ns) or self._has_result(end_ns):
                plans.append(self._plan(end_ns, is_final=True))
                self._index += 1
                self._before = None
            self._begin_ns = end_ns
        if self._ends and not self._final_only and self._first_due(self._begin_ns, self._ends[0]):
            plan = self._plan(self._ends[0], is_final=False)
            if not plan.same_as_before:
                plans.append(plan)
                self._before = plan
        return plans

    def _final_due(self, begin_ns: int, end_ns: int) -> bool:
        # Audio that lags is waited for as long as anything is: a first result does not.
        heard_ns = hop_end_ns(end_ns) if self._clock.streams[Modality.AUDIO].is_open else end_ns
        if self._clock.is_over(max(heard_ns, self._known_ns[end_ns])):
            return True
        is_heard = self._clock.is_final(heard_ns) and self._clock.has_words(end_ns)
        return is_heard and not self._store.transcript.waits(begin_ns, end_ns)

    def _first_due(self, begin_ns: int, end_ns: int) -> bool:
        heard_ns = hop_end_ns(end_ns) if self._clock.is_there(Modality.AUDIO) else end_ns
        return self._clock.is_first(heard_ns) and self._is_said(begin_ns, end_ns)

    def _has_result(self, end_ns: int) -> bool:
        """Tell whether a first result was given, which a final one must follow."""
        return self._before is not None and self._before.end_ns == end_ns

    def _is_said(self, begin_ns: int, end_ns: int) -> bool:
        """Tell whether there are words or a voice; where nothing was heard at all, a face is enough."""
        if self._has_words(begin_ns, end_ns) or self._has_voice(begin_ns, end_ns):
            return True
        return not any(self._store.hops_of(begin_ns, end_ns)) and bool(self._store.faces.within(begin_ns, end_ns))

    def _has_words(self, begin_ns: int, end_ns: int) -> bool:
        return self._store.transcript.has(begin_ns, end_ns)

    def _has_voice(self, begin_ns: int, end_ns: int) -> bool:
        return self._store.voice.total_ns(begin_ns, end_ns) >= SPOKEN_NS

    def _start_ns(self, begin_ns: int, end_ns: int, default: int) -> int:
        """Return where the first word or the first voice begins after the utterance before.

        Where there are words, noise is not taken for a voice: then a detector's voice alone counts.
        """
        word_ns = self._store.transcript.first_ns(begin_ns, end_ns)
        voice_ns = self._store.voice.first_ns(begin_ns, end_ns)
        if word_ns is not None and not self._store.voice.is_detected:
            voice_ns = None
        return max(begin_ns, min((one for one in (word_ns, voice_ns) if one is not None), default=default))

    def _plan(self, end_ns: int, is_final: bool) -> UtterancePlan:
        start_ns = self._start_ns(self._begin_ns, end_ns, default=self._begin_ns)
        hops = self._store.hops_of(start_ns, end_ns)
        faces, others = self._store.faces_of(start_ns, end_ns, main_speaker)
        words = self._store.transcript.of_utterance(self._begin_ns, end_ns, is_final)
        has_data = {Modality.AUDIO: any(hops), Modality.VIDEO: any(faces), Modality.TEXT: words is not None}
        plan = UtterancePlan(
            index=self._index,
            revision=0,
            is_final=is_final,
            start_ns=start_ns,
            end_ns=end_ns,
            hops=hops,
            faces=faces,
            others=others,
            words=words,
            statuses={one: status_of(self._clock, one, has, end_ns) for one, has in has_data.items()},
        )
        if self._before is None:
            return plan
        return replace(plan, revision=self._before.revision + 1, same_as_before=plan.repeats(self._before))
