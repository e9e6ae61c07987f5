"""Encodes the pieces of one session and fuses its windows, each once.

Pieces are encoded as soon as the core gives them out; a window waits for its pieces, for a bounded time. A piece whose
model is away is tried again in the background, so that later windows have it.
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
from server.live.events import Notice, NoticeType, Timings, WindowResult
from server.session.fusion_input import Encoded, assemble
from server.session.pieces import AudioHop, Face, Piece, WindowPlan, Words

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


LIVE = Patience(window_s=0.5, piece_s=10.0, fusion_s=10.0, close_s=10.0)
RECORDED = Patience(window_s=60.0, piece_s=60.0, fusion_s=60.0, close_s=600.0)


@dataclass(frozen=True)
class Scored:
    """A window's result, and whether every piece of it was encoded."""

    result: WindowResult
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
        self._encodings: WeakKeyDictionary[Piece, asyncio.Task[Encoded | None]] = WeakKeyDictionary()
        self._windows: dict[int, asyncio.Task[Scored]] = {}
        self._away: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def encode(self, piece: Piece) -> asyncio.Task[Encoded | None]:
        """Encode a piece, in the background; None where no model could."""
        task = self._encodings.get(piece)
        if task is None:
            task = self._encodings[piece] = self._start(self._encode(piece))
        return task

    def score(self, plan: WindowPlan, arrived_ns: int, decoded_ns: int) -> asyncio.Task[Scored]:
        """Score a window, in the background."""
        previous = self._windows.pop(plan.index, None)
        task = self._start(self._score(plan, previous, arrived_ns, decoded_ns))
        if not plan.is_final:
            self._windows[plan.index] = task
        return task

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
        try:
            encoded = await self._encoders.encode(piece, self._patience.piece_s, self._unavailable)
        except EngineError as error:
            logger.warning("a piece was dropped: %s", error)
            self._on_dropped(piece)
            return None
        finally:
            self.pending.discard(piece)
        self._recovered(_MODEL_OF[type(piece)])
        return encoded

    async def _score(
        self, plan: WindowPlan, previous: asyncio.Task[Scored] | None, arrived_ns: int, decoded_ns: int
    ) -> Scored:
        if previous is not None and plan.same_as_before:
            scored = await previous
            if scored.is_complete:
                return Scored(replace(scored.result, plan=plan), is_complete=True)
        pieces: list[Piece] = [piece for piece in (*plan.hops, *plan.faces, plan.words) if piece is not None]
        encodings = {piece: self.encode(piece) for piece in pieces}
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
        return Scored(WindowResult(plan, window.views, fused, timings), complete)

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
