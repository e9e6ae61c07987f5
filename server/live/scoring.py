"""Encodes the pieces of one session and fuses its results, each once.

Pieces are encoded as soon as the core gives them out; a result waits for its pieces, for a bounded time. A piece whose
model is away is tried again in the background, so that later results have it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from server.inference.encoders import Encoders
from server.inference.engine import EngineError, ModelUnavailableError
from server.live.events import Notice, NoticeType, Result, Timings
from server.session.fusion_input import Encoded, assemble
from server.session.pieces import AudioHop, Face, Piece, Plan, UtterancePlan, WindowPlan, Words

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
    close_s: float
    """When the session ends, results that are not there by then go out without scores."""
    max_pending: int | None = None
    """Pieces that may be tried at a time before reading stops. None of a live session, which is paced by its source."""


LIVE = Patience(window_s=0.5, piece_s=10.0, fusion_s=10.0, close_s=10.0)
RECORDED = Patience(window_s=60.0, piece_s=60.0, fusion_s=60.0, close_s=600.0, max_pending=64)
_MAX_FUSIONS = 64
"""Results of a session that are laid out at a time: all results of a recording are due at once."""


@dataclass(frozen=True)
class Scored:
    """A result, and whether every piece of it was encoded."""

    result: Result
    is_complete: bool


class Scorer:
    """The models of one session."""

    def __init__(
        self,
        encoders: Encoders,
        patience: Patience,
        on_dropped: Callable[[Piece], None],
        notify: Callable[[Notice], None],
        on_done: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            encoders: the models of all sessions.
            patience: how long this session waits for them.
            on_dropped: is told of a piece that no model could encode.
            notify: is told when a model goes away or comes back.
            on_done: is called whenever something has become ready.
        """
        self.pending: set[Piece] = set()
        """Pieces that are being tried."""
        self._encoders = encoders
        self._patience = patience
        self._on_dropped = on_dropped
        self._notify = notify
        self._on_done = on_done
        self._room = asyncio.Event()
        self._room.set()
        self._fusions = asyncio.Semaphore(_MAX_FUSIONS)
        self._encodings: WeakKeyDictionary[Piece, asyncio.Task[Encoded | None]] = WeakKeyDictionary()
        self._open: dict[tuple[type[Plan], int], asyncio.Task[Scored]] = {}
        """Results that may be revised."""
        self._away: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def encode(self, piece: Piece) -> asyncio.Task[Encoded | None]:
        """Encode a piece, in the background; None where no model could."""
        task = self._encodings.get(piece)
        if task is None:
            task = self._encodings[piece] = self._start(self._encode(piece))
        return task

    def score(self, plan: WindowPlan | UtterancePlan, arrived_ns: int, decoded_ns: int) -> asyncio.Task[Scored]:
        """Score a window or an utterance, in the background."""
        name = (type(plan), plan.index)
        task = self._start(self._score(plan, self._open.pop(name, None), arrived_ns, decoded_ns))
        if not plan.is_final:
            self._open[name] = task
        return task

    async def room(self) -> None:
        """Wait while `Patience.max_pending` pieces are being tried."""
        await self._room.wait()

    async def close(self) -> None:
        """Stop everything that still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, coroutine: Coroutine[object, object, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._on_done()

    async def _encode(self, piece: Piece) -> Encoded | None:
        self.pending.add(piece)
        if self._patience.max_pending is not None and len(self.pending) >= self._patience.max_pending:
            self._room.clear()
        try:
            encoded = await self._encoders.encode(piece, self._patience.piece_s, self._unavailable)
        except EngineError as error:
            logger.warning("a piece was dropped: %s", error)
            self._on_dropped(piece)
            return None
        finally:
            self.pending.discard(piece)
            self._room.set()
        self._recovered(_MODEL_OF[type(piece)])
        piece.release()
        return encoded

    async def _score(
        self,
        plan: WindowPlan | UtterancePlan,
        previous: asyncio.Task[Scored] | None,
        arrived_ns: int,
        decoded_ns: int,
    ) -> Scored:
        if previous is not None and plan.same_as_before:
            scored = await previous
            if scored.is_complete:
                return Scored(replace(scored.result, plan=plan), is_complete=True)
        async with self._fusions:
            return await self._fuse(plan, arrived_ns, decoded_ns)

    async def _fuse(self, plan: WindowPlan | UtterancePlan, arrived_ns: int, decoded_ns: int) -> Scored:
        encodings = {piece: self.encode(piece) for piece in plan.pieces()}
        await self._settle(encodings)
        encoded = {
            piece: done for piece, task in encodings.items() if task.done() and (done := task.result()) is not None
        }
        encoded_ns = time.monotonic_ns()
        laid_out = assemble(plan, encoded)
        fused = None
        if not laid_out.is_empty:
            try:
                fused = await self._encoders.fuse(laid_out.tensors, self._patience.fusion_s, self._unavailable)
                self._recovered("fusion")
            except EngineError as error:
                logger.warning("a result has no scores: %s", error)
        timings = Timings(decoded_ns - arrived_ns, encoded_ns - decoded_ns, time.monotonic_ns() - encoded_ns)
        complete = len(encoded) == len(encodings) and (fused is not None or laid_out.is_empty)
        return Scored(Result(plan, laid_out.views, laid_out.faces, fused, timings), complete)

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
            self._notify(Notice(NoticeType.MODEL_UNAVAILABLE, str(error), error.model))

    def _recovered(self, model: str) -> None:
        if model in self._away:
            self._away.discard(model)
            self._notify(Notice(NoticeType.MODEL_RECOVERED, f"{model} answers again", model))


_MODEL_OF: dict[type[Piece], str] = {AudioHop: "audio_encoder", Face: "video_encoder", Words: "text_encoder"}
