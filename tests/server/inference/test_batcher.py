import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.inference.batcher import BEST_BATCH, Batcher
from server.inference.engine import EngineError, LoadedModel, ModelUnavailableError, Tensors


class GatedEngine:
    """Doubles X. Each call waits until the test lets it go; X < 0 is refused, X > 1000 finds the model away."""

    name = "gated"

    def __init__(self, *, gated: bool = True) -> None:
        self.batches: list[list[float]] = []
        self.gate = asyncio.Semaphore(0 if gated else 10_000)

    async def infer(self, model: str, inputs: Tensors, timeout_s: float) -> dict[str, NDArray[Any]]:
        x = inputs["X"]
        self.batches.append(x[:, 0].tolist())
        await self.gate.acquire()
        if (x > 1000).any():
            raise ModelUnavailableError(model, "away")
        if (x < 0).any():
            raise EngineError(model, "negative")
        return {"Y": 2 * x}

    async def models(self) -> list[LoadedModel]:
        return []

    async def close(self) -> None:
        pass


def item(value: float, width: int = 1) -> dict[str, NDArray[Any]]:
    return {"X": np.full(width, value, dtype=np.float32)}


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_items_of_one_turn_share_a_batch() -> None:
    engine = GatedEngine(gated=False)
    batcher = Batcher(engine, "m", 64, 1.0)
    results = await asyncio.gather(*(batcher.run(item(value)) for value in range(5)))
    assert engine.batches == [[0, 1, 2, 3, 4]]
    assert [result["Y"].tolist() for result in results] == [[0], [2], [4], [6], [8]]


async def test_items_gather_while_calls_are_under_way() -> None:
    engine = GatedEngine()
    batcher = Batcher(engine, "m", 64, 1.0)
    tasks = []
    for value in range(6):
        tasks.append(asyncio.create_task(batcher.run(item(value))))
        await settle()
    assert engine.batches == [[0], [1]]
    engine.gate.release()
    await settle()
    assert engine.batches == [[0], [1], [2, 3, 4, 5]]
    for _ in range(2):
        engine.gate.release()
    assert [result["Y"][0] for result in await asyncio.gather(*tasks)] == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize(("max_batch_size", "expected"), [(64, BEST_BATCH), (4, 4)])
async def test_batches_are_bounded(max_batch_size: int, expected: int) -> None:
    engine = GatedEngine(gated=False)
    batcher = Batcher(engine, "m", max_batch_size, 1.0)
    await asyncio.gather(*(batcher.run(item(value)) for value in range(40)))
    assert max(map(len, engine.batches)) == expected
    assert sorted(value for batch in engine.batches for value in batch) == list(range(40))


async def test_a_bad_item_fails_alone() -> None:
    batcher = Batcher(GatedEngine(gated=False), "m", 64, 1.0)
    good, bad, other = await asyncio.gather(*(batcher.run(item(v)) for v in (1, -1, 2)), return_exceptions=True)
    assert isinstance(bad, EngineError)
    assert not isinstance(bad, ModelUnavailableError)
    assert (good["Y"][0], other["Y"][0]) == (2, 4)


async def test_items_of_another_shape_fail_alone() -> None:
    batcher = Batcher(GatedEngine(gated=False), "m", 64, 1.0)
    one, wide = await asyncio.gather(batcher.run(item(1)), batcher.run(item(1, width=3)))
    assert one["Y"].tolist() == [2]
    assert wide["Y"].tolist() == [2, 2, 2]


async def test_an_unavailable_model_fails_everyone_without_retries() -> None:
    engine = GatedEngine(gated=False)
    batcher = Batcher(engine, "m", 64, 1.0)
    results = await asyncio.gather(*(batcher.run(item(v)) for v in (1, 2000, 2)), return_exceptions=True)
    assert all(isinstance(result, ModelUnavailableError) for result in results)
    assert len(engine.batches) == 1


async def test_cancelling_one_disturbs_nobody() -> None:
    engine = GatedEngine()
    batcher = Batcher(engine, "m", 64, 1.0)
    running = [asyncio.create_task(batcher.run(item(v))) for v in (1, 2)]
    await settle()
    blocker = asyncio.create_task(batcher.run(item(3)))
    await settle()
    waiting = [asyncio.create_task(batcher.run(item(v))) for v in (4, 5)]
    await settle()
    running[0].cancel()
    waiting[0].cancel()
    for _ in range(3):
        engine.gate.release()
    assert (await running[1])["Y"][0] == 4
    assert (await blocker)["Y"][0] == 6
    assert (await waiting[1])["Y"][0] == 10
    assert engine.batches == [[1, 2], [3], [5]]


async def test_the_queue_is_bounded() -> None:
    engine = GatedEngine()
    batcher = Batcher(engine, "m", 64, 1.0, max_in_flight=1, queue_limit=2)
    tasks = [asyncio.create_task(batcher.run(item(0)))]
    await settle()
    tasks += [asyncio.create_task(batcher.run(item(value))) for value in (1, 2)]
    await settle()
    with pytest.raises(ModelUnavailableError, match="2 items are waiting"):
        await batcher.run(item(3))
    for _ in range(2):
        engine.gate.release()
    await asyncio.gather(*tasks)


async def test_cancelled_items_do_not_fill_the_queue() -> None:
    engine = GatedEngine()
    batcher = Batcher(engine, "m", 64, 1.0, max_in_flight=1, queue_limit=2)
    first = asyncio.create_task(batcher.run(item(0)))
    await settle()
    for value in range(10):
        task = asyncio.create_task(batcher.run(item(value)))
        await settle()
        task.cancel()
        await settle()
    last = asyncio.create_task(batcher.run(item(7)))
    await settle()
    for _ in range(2):
        engine.gate.release()
    assert (await first)["Y"][0] == 0
    assert (await last)["Y"][0] == 14


async def test_close_refuses_who_waits_and_who_comes() -> None:
    batcher = Batcher(GatedEngine(), "m", 64, 1.0, max_in_flight=1)
    tasks = [asyncio.create_task(batcher.run(item(0)))]
    await settle()
    tasks.append(asyncio.create_task(batcher.run(item(1))))
    await settle()
    await batcher.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, ModelUnavailableError) for result in results)
    with pytest.raises(ModelUnavailableError, match="closing"):
        await batcher.run(item(2))
