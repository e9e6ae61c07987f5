"""Decides which windows are due: first results, revisions and final ones."""

from dataclasses import replace

from contract.timing import HOP_NS, VIDEO_SLOT_NS, WINDOW_NS, video_slots_of
from server.session.clock import Clock
from server.session.face_buffer import newest_speaker
from server.session.messages import Modality
from server.session.pieces import WindowPlan
from server.session.store import Store, status_of


class Windows:
    """Numbers of the windows that are due next, and the plans for them."""

    def __init__(self, clock: Clock, store: Store, interval_ns: int, final_only: bool) -> None:
        self._clock = clock
        self._store = store
        self._interval_ns = interval_ns
        self._final_only = final_only
        self._next_first = 0
        self._next_final = 0
        self._open: dict[int, WindowPlan] = {}
        """Last results of the windows that are not final yet."""

    @property
    def final_ns(self) -> int:
        """End of the last window that is final."""
        return self._next_final * self._interval_ns

    @property
    def horizon_ns(self) -> int:
        """No window to come looks at anything before this time."""
        return self._end_ns(self._next_final) - WINDOW_NS - VIDEO_SLOT_NS

    def advance(
        self, acknowledged: dict[Modality, int], words_changed: bool, at_most: int | None = None
    ) -> list[WindowPlan]:
        """Return the plans that are due now, in the order in which their results must go out, or the first `at_most`.

        When words have changed, the results that are not final are revised at once; other media wait for the final one.
        """
        plans: list[WindowPlan] = []
        while len(plans) != at_most and self._final_due(self._end_ns(self._next_final)):
            plans.append(self._plan(self._next_final, True, acknowledged))
            self._open.pop(self._next_final, None)
            self._next_final += 1
        self._next_first = max(self._next_first, self._next_final)
        if words_changed:
            revised = (self._plan(index, False, acknowledged) for index in sorted(self._open))
            plans += [plan for plan in revised if not plan.same_as_before]
        while not self._final_only and self._clock.is_first(self._end_ns(self._next_first)):
            plans.append(self._plan(self._next_first, False, acknowledged))
            self._next_first += 1
        self._open.update((plan.index, plan) for plan in plans if not plan.is_final)
        return plans

    def _end_ns(self, index: int) -> int:
        return (index + 1) * self._interval_ns

    def _final_due(self, end_ns: int) -> bool:
        if end_ns >= self._clock.reached_ns + self._interval_ns:
            return False
        if self._clock.is_over(end_ns):
            return True
        return self._clock.is_final(end_ns) and not self._store.transcript.window_waits(
            max(0, end_ns - WINDOW_NS), end_ns
        )

    def _plan(self, index: int, is_final: bool, acknowledged: dict[Modality, int]) -> WindowPlan:
        end_ns = self._end_ns(index)
        start_ns = max(0, end_ns - WINDOW_NS)
        hops = self._store.hops_of(end_ns - WINDOW_NS, end_ns)
        first_slot_ns = video_slots_of(end_ns).start * VIDEO_SLOT_NS
        faces, others = self._store.faces_of(first_slot_ns, end_ns, newest_speaker)
        words = self._store.transcript.of_window(start_ns, end_ns, is_final)
        newest_face_ns = max((face.time_ns for face in faces if face is not None), default=-1)
        has_data = {
            Modality.AUDIO: any(hop is not None for hop in hops[-(self._interval_ns // HOP_NS) :]),
            Modality.VIDEO: newest_face_ns >= end_ns - self._interval_ns,
            Modality.TEXT: words is not None,
        }
        has_voice = self._store.voice.total_ns(start_ns, end_ns) > 0
        plan = WindowPlan(
            index=index,
            revision=0,
            is_final=is_final,
            start_ns=start_ns,
            end_ns=end_ns,
            hops=hops,
            faces=faces,
            others=others,
            words=words,
            statuses={one: status_of(self._clock, one, has, end_ns) for one, has in has_data.items()},
            acknowledged=acknowledged,
            has_life=has_voice or words is not None or any(face is not None for face in (*faces, *others)),
        )
        before = self._open.get(index)
        if before is None:
            return plan
        return replace(plan, revision=before.revision + 1, same_as_before=plan.repeats(before))
