"""Runs one session: decodes, encodes and fuses what its core asks for, and gives out events in their order.

The core decides, this shell only waits. Pieces are encoded as soon as the core gives them out; a window's event waits
for its pieces, for a bounded time, and leaves in the order of the plans. A piece whose model is away is tried again in
the background, so that later windows have it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from server.inference.encoders import Encoders
from server.inference.engine import EngineError, ModelUnavailableError
from server.live.events import (
    Closed,
    CloseReason,
    Event,
    Notice,
    NoticeType,
    Rejected,
    SessionFailedError,
    Timings,
    UtteranceResult,
    WindowResult,
)
from server.media.errors import MediaError
from server.media.pump import MediaPump
from server.media.session_media import Decoded, SessionMedia
from server.session.core import SessionCore
from server.session.fusion_input import Encoded, assemble
from server.session.messages import Close, EndOfModality, EndOfUtterance, Item, Media, Modality, RejectedError
from server.session.pieces import AudioHop, Face, Output, Piece, UtterancePlan, WindowPlan, Words
from server.session.summary import Summary

logger = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """How long a session waits for models that are away, in seconds."""

    window_s: float
    """A window goes out without the pieces whose model is known to be away by then. A slow model is waited for."""
    piece_s: float
    """A piece that could not be encoded by then is given up."""
    fusion_s: float
    """A window that could not be fused by then goes out without scores."""


LIVE = Patience(window_s=0.5, piece_s=10.0, fusion_s=10.0)
RECORDED = Patience(window_s=60.0, piece_s=60.0, fusion_s=60.0)

_HIGH_WATER = 64
"""Messages of a session that may wait for decoding, and events that may wait for the client, before reading stops."""


@dataclass(frozen=True)
class _Scored:
    """A window's result, and whether every piece of it was encoded."""

    result: WindowResult
    is_complete: bool


class SessionRunner:
    """One session from `receive` to `events`. Use it in one event loop; `close` it when its transport is gone."""

    def __init__(
        self, core: SessionCore, media: SessionMedia, pump: MediaPump, encoders: Encoders, patience: Patience
    ) -> None:
        self._core = core
        self._encoders = encoders
        self._patience = patience
        self._pump = pump
        self._queue = pump.open(media, self._on_decoded, _HIGH_WATER)
        self._encodings: WeakKeyDictionary[Piece, asyncio.Task[Encoded | None]] = WeakKeyDictionary()
        self._pending: set[Piece] = set()
        self._windows: dict[int, asyncio.Task[_Scored]] = {}
        self._outbox: asyncio.Queue[asyncio.Future[_Scored] | UtterancePlan | Event | Exception] = asyncio.Queue()
        self._drained = asyncio.Event()
        self._drained.set()
        self._away: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reason: CloseReason | None = None
        self._summary = Summary()
        self._results = 0
        self._end_ns = 0

    async def receive(self, item: Item) -> None:
        """Take in one message; waits while the session is behind, so that the client is slowed down, not cut short."""
        await self._queue.room()
        await self._drained.wait()
        if self._reason is not None:
            return
        now_ns = time.monotonic_ns()
        try:
            ready = self._core.receive(item)
        except RejectedError as error:
            self._reject(item, str(error))
            return
        for one in ready:
            self._queue.put(one, now_ns)

    def reject(self, modality: Modality, sequence: int, message: str) -> None:
        """Refuse a message that is not fit to be taken in (too large), and count it."""
        self._core.reject(modality, sequence)
        self._put(Rejected(modality, sequence, message))

    def refuse(self, message: str) -> None:
        """Refuse a message that belongs to no modality."""
        self._put(Rejected(None, None, message))

    def fail(self, error: Exception) -> None:
        """End the events with an exception: the transport is broken, or the server is at fault."""
        self._outbox.put_nowait(error)

    def finish(self, reason: CloseReason) -> None:
        """End the session: what was received is still decoded and fused, then `Closed` follows. Once is enough."""
        if self._reason is not None:
            return
        self._reason = reason
        now_ns = time.monotonic_ns()
        for one in self._core.receive(Close()):
            self._queue.put(one, now_ns)

    def notify(self, notice: Notice) -> None:
        """Tell the client something."""
        self._put(notice)

    async def events(self) -> AsyncIterator[Event]:
        """Yield the session's events in order; the last one is `Closed`.

        Raises:
            SessionFailedError: a defect of the server ended the session.
            Exception: what `fail` was given.
        """
        while True:
            entry = await self._outbox.get()
            if self._outbox.qsize() < _HIGH_WATER:
                self._drained.set()
            if isinstance(entry, Exception):
                raise entry
            if isinstance(entry, asyncio.Future):
                yield self._finished((await entry).result)
            elif isinstance(entry, UtterancePlan):
                yield UtteranceResult(entry, self._summary.utterance(entry.start_ns, entry.end_ns))
            elif isinstance(entry, Closed):
                yield self._closed(entry.reason)
                return
            else:
                yield entry

    async def close(self) -> None:
        """Stop everything that still runs for this session."""
        self._pump.remove(self._queue)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _finished(self, result: WindowResult) -> WindowResult:
        self._results += 1
        self._end_ns = max(self._end_ns, result.plan.end_ns)
        if result.plan.is_final and result.fused is not None:
            self._summary.add(result.plan.end_ns, result.fused)
        return result

    def _closed(self, reason: CloseReason) -> Closed:
        """Settle the totals: what is still being tried has missed its last window."""
        for piece in self._pending:
            self._drop(piece)
        return Closed(reason, self._core.totals, self._results, self._end_ns, self._summary.session())

    def _drop(self, piece: Piece) -> None:
        if not isinstance(piece, Words):
            self._core.drop(piece)

    def _on_decoded(self, item: Item, arrived_ns: int, decoded: Decoded | Exception) -> None:
        try:
            self._take(self._deliver(item, decoded), arrived_ns)
            if isinstance(item, Close) and self._reason is not None:
                self._put(Closed(self._reason, {}, 0, 0, None))
        except Exception as error:
            logger.exception("a session failed")
            failure = SessionFailedError("the session failed in the server")
            failure.__cause__ = error
            self.fail(failure)

    def _deliver(self, item: Item, decoded: Decoded | Exception) -> list[Output]:
        if isinstance(decoded, Exception):
            return self._undecodable(item, decoded)
        if isinstance(item, Close):
            return self._core.deliver_close(decoded.samples)
        if isinstance(item, EndOfModality):
            return self._core.deliver_end_of_modality(item, decoded.samples)
        if isinstance(item, EndOfUtterance):
            return self._core.deliver_end_of_utterance(item)
        if item.modality == Modality.AUDIO:
            return self._core.deliver_audio(item, decoded.samples, decoded.reached_ns)
        if item.modality == Modality.VIDEO:
            return self._core.deliver_face(item, decoded.face)
        try:
            return self._core.deliver_text(item)
        except RejectedError as error:
            self._reject(item, str(error))
            return []

    def _undecodable(self, item: Item, error: Exception) -> list[Output]:
        is_internal = not isinstance(error, MediaError)
        if not isinstance(item, Media):
            raise error
        text = f"{item.modality} could not be decoded" if is_internal else f"{item.modality}: {error}"
        self._put(Rejected(item.modality, item.sequence, text, is_internal))
        return self._core.deliver_rejected(item)

    def _take(self, outputs: list[Output], arrived_ns: int) -> None:
        decoded_ns = time.monotonic_ns()
        for output in outputs:
            if isinstance(output, WindowPlan):
                previous = self._windows.pop(output.index, None)
                task = self._start(self._window(output, previous, arrived_ns, decoded_ns))
                if not output.is_final:
                    self._windows[output.index] = task
                self._put(task)
            elif isinstance(output, UtterancePlan):
                self._put(output)
            else:
                self._encoding(output)

    def _put(self, entry: asyncio.Future[_Scored] | UtterancePlan | Event) -> None:
        self._outbox.put_nowait(entry)
        if self._outbox.qsize() >= _HIGH_WATER:
            self._drained.clear()

    def _reject(self, item: Item, message: str) -> None:
        sequence = item.sequence if isinstance(item, Media) else None
        modality = item.modality if isinstance(item, Media | EndOfModality) else None
        self._put(Rejected(modality, sequence, message))

    def _start(self, coroutine: Coroutine[object, object, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Models.

    def _encoding(self, piece: Piece) -> asyncio.Task[Encoded | None]:
        task = self._encodings.get(piece)
        if task is None:
            task = self._encodings[piece] = self._start(self._encode(piece))
        return task

    async def _encode(self, piece: Piece) -> Encoded | None:
        self._pending.add(piece)
        try:
            encoded = await self._encoders.encode(piece, self._patience.piece_s, self._unavailable)
        except EngineError as error:
            logger.warning("a piece was dropped: %s", error)
            self._drop(piece)
            return None
        finally:
            self._pending.discard(piece)
        self._recovered(_MODEL_OF[type(piece)])
        return encoded

    async def _window(
        self, plan: WindowPlan, previous: asyncio.Task[_Scored] | None, arrived_ns: int, decoded_ns: int
    ) -> _Scored:
        if previous is not None and plan.same_as_before:
            scored = await previous
            if scored.is_complete:
                return _Scored(replace(scored.result, plan=plan), is_complete=True)
        pieces: list[Piece] = [piece for piece in (*plan.hops, *plan.faces, plan.words) if piece is not None]
        encodings = {piece: self._encoding(piece) for piece in pieces}
        await self._settle(encodings)
        encoded = {
            piece: done for piece, task in encodings.items() if task.done() and (done := task.result()) is not None
        }
        encoded_ns = time.monotonic_ns()
        window = assemble(plan, encoded)
        fused = None
        if not window.is_empty:
            try:
                fused = await self._encoders.fuse(window.tensors, self._patience.fusion_s, self._unavailable)
                self._recovered("fusion")
            except EngineError as error:
                logger.warning("a window has no scores: %s", error)
        timings = Timings(decoded_ns - arrived_ns, encoded_ns - decoded_ns, time.monotonic_ns() - encoded_ns)
        complete = len(encoded) == len(pieces) and (fused is not None or window.is_empty)
        return _Scored(WindowResult(plan, window.views, fused, timings), complete)

    async def _settle(self, encodings: dict[Piece, asyncio.Task[Encoded | None]]) -> None:
        """Wait until the pieces are encoded, but not for those whose model is away."""
        waiting = dict(encodings)
        while waiting:
            await asyncio.wait(waiting.values(), timeout=self._patience.window_s)
            waiting = {
                piece: task
                for piece, task in waiting.items()
                if not task.done() and _MODEL_OF[type(piece)] not in self._away
            }

    def _unavailable(self, error: ModelUnavailableError) -> None:
        if error.model not in self._away:
            self._away.add(error.model)
            self._put(Notice(NoticeType.MODEL_UNAVAILABLE, str(error), error.model))

    def _recovered(self, model: str) -> None:
        if model in self._away:
            self._away.discard(model)
            self._put(Notice(NoticeType.MODEL_RECOVERED, f"{model} answers again", model))


_MODEL_OF: dict[type[Piece], str] = {AudioHop: "audio_encoder", Face: "video_encoder", Words: "text_encoder"}
