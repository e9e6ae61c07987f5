"""Batches the items of all sessions that wait for one model. It knows no session and adds no delay of its own."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.inference.engine import Engine, EngineError, ModelUnavailableError
from server.metrics import BATCH

Item = Mapping[str, NDArray[Any]]
"""Tensor name -> array without the batch dimension."""

BEST_BATCH: Final = 16
"""Larger batches cost more an item again: they leave the CPU's caches."""
MAX_IN_FLIGHT: Final = 2
"""One batch runs while the next one travels."""
QUEUE_LIMIT: Final = 1024


@dataclass(eq=False)
class _Waiting:
    item: Item
    result: asyncio.Future[dict[str, NDArray[Any]]]


class Batcher:
    """Sends everything that waits for a model in one request as soon as a previous one has returned.

    While the model is idle an item goes out at once; while it is busy, items gather. So the batch grows with the load,
    and there is no delay to tune.
    """

    def __init__(
        self,
        engine: Engine,
        model: str,
        max_batch: int,
        timeout_s: float,
        *,
        max_in_flight: int = MAX_IN_FLIGHT,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        """`max_batch` is the model's `max_batch_size`, `timeout_s` the time for one call."""
        self._engine = engine
        self._model = model
        self._batch = min(BEST_BATCH, max_batch)
        self._timeout_s = timeout_s
        self._max_in_flight = max_in_flight
        self._queue_limit = queue_limit
        self._queue: deque[_Waiting] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._closed = False

    async def run(self, item: Item) -> dict[str, NDArray[Any]]:
        """Run one item and return its outputs, without the batch dimension.

        Raises:
            ModelUnavailableError: the model can't answer now, the queue is full, or the batcher was closed.
            EngineError: the model refused this item. Items that shared its batch are not affected.
        """
        if self._closed or len(self._queue) >= self._queue_limit:
            why = "the server is closing" if self._closed else f"{self._queue_limit} items are waiting already"
            raise ModelUnavailableError(self._model, why)
        waiting = _Waiting(item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._schedule()
        try:
            return await waiting.result
        finally:
            if waiting.result.cancelled():
                self._forget(waiting)

    async def close(self) -> None:
        """Cancel the calls under way and refuse whoever still waits."""
        self._closed = True
        calls = tuple(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        self._refuse(self._queue, ModelUnavailableError(self._model, "the server is closing"))
        self._queue.clear()

    def _forget(self, waiting: _Waiting) -> None:
        """Give the place in the queue back, unless the item is under way already."""
        with contextlib.suppress(ValueError):
            self._queue.remove(waiting)

    def _schedule(self) -> None:
        """Send in the next turn of the loop, when everyone who became ready in this one has queued up."""
        if not self._scheduled and self._queue and len(self._calls) < self._max_in_flight:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        while self._queue and len(self._calls) < self._max_in_flight and not self._closed:
            batch = self._next_batch()
            if batch:
                call = asyncio.create_task(self._call(batch), name=f"batch-{self._model}")
                self._calls.add(call)
                call.add_done_callback(self._returned)

    def _next_batch(self) -> list[_Waiting]:
        """Take up to one batch of those who have not been cancelled."""
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._batch:
            waiting = self._queue.popleft()
            if not waiting.result.done():
                batch.append(waiting)
        return batch

    def _returned(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._schedule()

    async def _call(self, batch: list[_Waiting]) -> None:
        try:
            await self._answer(batch)
        except ModelUnavailableError as error:
            self._refuse(batch, error)
        except EngineError as error:
            if len(batch) == 1:
                self._refuse(batch, error)
            else:
                await self._answer_one_by_one(batch)
        except asyncio.CancelledError:
            self._refuse(batch, ModelUnavailableError(self._model, "the server is closing"))
            raise

    async def _answer_one_by_one(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            if not waiting.result.done():
                try:
                    await self._answer([waiting])
                except EngineError as error:
                    self._refuse([waiting], error)

    async def _answer(self, batch: list[_Waiting]) -> None:
        BATCH.labels(self._model).observe(len(batch))
        outputs = await self._engine.infer(self._model, self._stacked(batch), self._timeout_s)
        for row, waiting in enumerate(batch):
            if not waiting.result.done():
                waiting.result.set_result({name: array[row] for name, array in outputs.items()})

    def _stacked(self, batch: list[_Waiting]) -> dict[str, NDArray[Any]]:
        try:
            return {name: np.stack([waiting.item[name] for waiting in batch]) for name in batch[0].item}
        except (KeyError, ValueError) as error:
            raise EngineError(self._model, f"items do not fit together: {error!r}") from error

    @staticmethod
    def _refuse(batch: "deque[_Waiting] | list[_Waiting]", error: EngineError) -> None:
        for waiting in batch:
            if not waiting.result.done():
                waiting.result.set_exception(error)
