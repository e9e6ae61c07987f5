"""Runs one session: has its media decoded and its results scored as its core decides, and gives out events in order.

The core decides, this shell only waits. Results leave in the order of the plans; notices leave at once.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from server.inference.encoders import Encoders
from server.live.events import (
    Closed,
    CloseReason,
    Event,
    Notice,
    Rejected,
    Result,
    Timings,
)
from server.live.failures import Failure
from server.live.observing import observe
from server.live.scoring import Patience, Scored, Scorer
from server.media.errors import MediaError
from server.media.pump import MediaPump
from server.media.session_media import Decoded, SessionMedia
from server.session.core import SessionCore
from server.session.fusion_input import assemble
from server.session.messages import Close, EndOfModality, EndOfUtterance, Item, Media, Modality, RejectedError
from server.session.pieces import Output, UtterancePlan, WindowPlan
from server.session.reasons import Reason
from server.session.smoothing import Smoothing
from server.session.summary import Summary

logger = logging.getLogger(__name__)
_HIGH_WATER = 64
"""Messages of a session that may wait for decoding, and events that may wait for the client, before reading stops."""
_RESULTS_PER_TURN = 16


@dataclass(frozen=True)
class _Due:
    """A result whose scores are being computed."""

    plan: WindowPlan | UtterancePlan
    task: asyncio.Task[Scored]


class SessionRunner:
    """One session from `receive` to its events. Use it in one event loop; `close` it when nobody will ask any more."""

    def __init__(
        self,
        core: SessionCore,
        media: SessionMedia,
        pump: MediaPump,
        encoders: Encoders,
        patience: Patience,
        smoothing_ns: int = 0,
    ) -> None:
        self._core = core
        self._patience = patience
        self._pump = pump
        self._queue = pump.open(media, self._on_decoded, _HIGH_WATER)
        self._outbox: deque[_Due | Rejected | Closed] = deque()
        self._notices: deque[Notice] = deque()
        self._changed = asyncio.Event()
        self._scorer = Scorer(encoders, patience, core.drop, self.notify, self._changed.set)
        self._room = asyncio.Event()
        self._room.set()
        self._reason: CloseReason | None = None
        self._ends = False
        self._deadline: asyncio.TimerHandle | None = None
        self._is_overdue = False
        self._summary = Summary()
        self._smoothing = Smoothing(smoothing_ns)
        self._results = 0
        self._end_ns = 0

    # Messages in.

    async def ready(self) -> None:
        """Wait while the session is behind, so that the client is slowed down, not cut short."""
        await self._queue.room()
        await self._scorer.room()
        await self._room.wait()

    def receive(self, item: Item) -> None:
        """Take in one message, at once and as a whole; `ready` says when there is room."""
        if self._reason is not None:
            return
        now_ns = time.monotonic_ns()
        try:
            ready = self._core.receive(item)
        except RejectedError as error:
            self._reject(item, error)
            return
        for one in ready:
            self._queue.put(one, now_ns)

    def reject(self, modality: Modality, sequence: int, failure: Failure) -> None:
        """Refuse a message that is not fit to be taken in (too large), and count it."""
        self._core.reject(modality, sequence)
        self._put(Rejected(modality, sequence, failure))

    def refuse(self, failure: Failure) -> None:
        """Refuse a message that belongs to no modality."""
        self._put(Rejected(None, None, failure))

    def finish(self, reason: CloseReason, within_s: float | None = None) -> None:
        """End the session: what was received is still decoded and fused, then `Closed` follows. Once is enough.

        Results that are not there within `within_s` (by default the patience's) go out without scores.
        """
        within_s = self._patience.close_s if within_s is None else within_s
        if self._reason is None:
            self._reason = reason
            now_ns = time.monotonic_ns()
            for one in self._core.receive(Close()):
                self._queue.put(one, now_ns)
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(within_s, self._give_up)

    def fail(self, failure: Failure) -> None:
        """End the session at once, with its totals: it can't go on."""
        if self._ends:
            return
        self._reason = CloseReason.ERROR
        self._outbox.clear()
        self._end(failure)

    def notify(self, notice: Notice) -> None:
        """Tell the client something, before all that is waiting."""
        self._notices.append(notice)
        self._changed.set()

    # Events out.

    def take_event(self) -> Event | None:
        """Return the next event if it is there; the last one is `Closed`."""
        if self._notices:
            return self._notices.popleft()
        if not self._outbox:
            return None
        entry = self._outbox[0]
        if isinstance(entry, _Due) and not (entry.task.done() or self._is_overdue):
            return None
        self._outbox.popleft()
        if len(self._outbox) < _HIGH_WATER:
            self._room.set()
        return self._event(entry)

    async def changed(self) -> None:
        """Wait until it is worth asking for an event again."""
        await self._changed.wait()
        self._changed.clear()

    def wake(self) -> None:
        """Have whoever waits for events look again."""
        self._changed.set()

    async def events(self) -> AsyncIterator[Event]:
        """Yield the session's events in order; the last one is `Closed`."""
        while True:
            event = self.take_event()
            if event is None:
                await self.changed()
                continue
            observe(event)
            yield event
            if isinstance(event, Closed):
                return

    async def close(self) -> None:
        """Stop everything that still runs for this session."""
        self._pump.remove(self._queue)
        if self._deadline is not None:
            self._deadline.cancel()
        await self._scorer.close()

    def _event(self, entry: _Due | Rejected | Closed) -> Event:
        if isinstance(entry, _Due):
            return self._finished(entry)
        if isinstance(entry, Closed):
            return self._closed(entry)
        return entry

    def _finished(self, due: _Due) -> Result:
        if due.task.done():
            result = due.task.result().result
        else:
            laid_out = assemble(due.plan, {})
            result = Result(due.plan, laid_out.views, laid_out.faces, None, Timings(0, 0, 0))
        return self._window(result, result.plan) if isinstance(result.plan, WindowPlan) else result

    def _window(self, result: Result, plan: WindowPlan) -> Result:
        """Count a window for the session, and smooth it."""
        self._results += 1
        self._end_ns = max(self._end_ns, plan.end_ns)
        if plan.is_final:
            self._summary.add(plan, result.fused, result.views)
        if result.fused is None:
            return result
        return replace(result, fused=self._smoothing.apply(plan.end_ns, plan.is_final, result.fused))

    def _closed(self, closed: Closed) -> Closed:
        """Settle the totals: what is still being tried has missed its last window."""
        for piece in self._scorer.pending:
            self._core.drop(piece)
        return Closed(
            closed.reason, self._core.totals, self._results, self._end_ns, self._summary.result(), closed.failure
        )

    def _end(self, failure: Failure | None = None) -> None:
        assert self._reason is not None
        self._ends = True
        self._put(Closed(self._reason, {}, 0, 0, None, failure))

    def _give_up(self) -> None:
        """The end has taken too long: what is not there goes out without scores."""
        self._is_overdue = True
        if not self._ends:
            self._pump.remove(self._queue)
            self._guarded(lambda: self._take(list(self._core.deliver_close()), time.monotonic_ns()))
            if not self._ends:
                self._end()
        self._changed.set()

    def _on_decoded(self, item: Item, arrived_ns: int, decoded: Decoded | Exception) -> None:
        self._guarded(lambda: self._take_decoded(item, arrived_ns, decoded))

    def _take_decoded(self, item: Item, arrived_ns: int, decoded: Decoded | Exception) -> None:
        if isinstance(item, Close):
            if isinstance(decoded, Exception):
                raise decoded
            self._take_last(self._core.deliver_close(decoded.samples, decoded.voice), arrived_ns)
        else:
            self._take(self._deliver(item, decoded), arrived_ns)

    def _take_last(self, outputs: Iterator[Output], arrived_ns: int) -> None:
        """Take the results of the close, a few at a time: those of a recording would hold up other sessions."""
        if self._ends:
            return
        turn = list(islice(outputs, _RESULTS_PER_TURN))
        self._take(turn, arrived_ns)
        if not turn:
            self._end()
            return
        asyncio.get_running_loop().call_soon(self._guarded, lambda: self._take_last(outputs, arrived_ns))

    def _guarded(self, work: Callable[[], None]) -> None:
        """A defect of ours ends the session, which its client is told, with the totals."""
        try:
            work()
        except Exception:
            logger.exception("a session failed")
            self.fail(Failure(Reason.INTERNAL, "the session failed in the server"))

    def _deliver(self, item: Media | EndOfModality | EndOfUtterance, decoded: Decoded | Exception) -> list[Output]:
        if isinstance(decoded, Exception):
            return self._undecodable(item, decoded)
        if isinstance(item, EndOfModality):
            return self._core.deliver_end_of_modality(item, decoded.samples, decoded.voice)
        if isinstance(item, EndOfUtterance):
            return self._core.deliver_end_of_utterance(item)
        if item.modality == Modality.AUDIO:
            return self._core.deliver_audio(item, decoded.samples, decoded.reached_ns, decoded.voice)
        if item.modality == Modality.VIDEO:
            return self._core.deliver_faces(item, decoded.faces)
        try:
            return self._core.deliver_text(item)
        except RejectedError as error:
            self._reject(item, error)
            return []

    def _undecodable(self, item: Item, error: Exception) -> list[Output]:
        if not isinstance(item, Media):
            raise error
        if not isinstance(error, MediaError):
            failure = Failure(Reason.INTERNAL, f"{item.modality} could not be decoded", str(item.modality))
        else:
            failure = Failure(error.reason, f"{item.modality}: {error}", f"{item.modality}.{error.field}")
        self._put(Rejected(item.modality, item.sequence, failure))
        return self._core.deliver_rejected(item)

    def _take(self, outputs: list[Output], arrived_ns: int) -> None:
        decoded_ns = time.monotonic_ns()
        for output in outputs:
            if isinstance(output, WindowPlan | UtterancePlan):
                self._put(_Due(output, self._scorer.score(output, arrived_ns, decoded_ns)))
            else:
                self._scorer.encode(output)

    def _put(self, entry: _Due | Rejected | Closed) -> None:
        self._outbox.append(entry)
        if len(self._outbox) >= _HIGH_WATER:
            self._room.clear()
        self._changed.set()

    def _reject(self, item: Item, error: RejectedError) -> None:
        sequence = item.sequence if isinstance(item, Media) else None
        modality = item.modality if isinstance(item, Media | EndOfModality) else None
        self._put(Rejected(modality, sequence, Failure(error.reason, str(error), error.field)))
