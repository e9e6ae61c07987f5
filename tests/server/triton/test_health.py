import asyncio

import pytest

from server.triton.health import Health, ModelEvent


@pytest.fixture
def health() -> Health:
    health = Health()
    health.watch(["a", "b"])
    return health


def test_listeners_hear_news_only(health: Health) -> None:
    events: list[ModelEvent] = []
    unsubscribe = health.subscribe(events.append)
    health.set_available("a", True)
    health.set_available("a", False, "dead")
    health.set_available("a", False, "still dead")
    health.set_available("a", True, "back")
    unsubscribe()
    health.set_available("b", False, "dead")
    assert events == [ModelEvent("a", False, "dead"), ModelEvent("a", True, "back")]


def test_unknown_models_count_as_available(health: Health) -> None:
    health.succeeded("other")
    assert health.available("other")


async def test_a_complaint_ends_the_wait_at_once(health: Health) -> None:
    waiting = asyncio.create_task(health.wait_for_doubt("a", 3600))
    await asyncio.sleep(0)
    health.failed("b")
    await asyncio.sleep(0.01)
    assert not waiting.done()
    health.failed("a")
    await waiting


async def test_a_complaint_before_the_wait_is_not_lost(health: Health) -> None:
    health.failed("a")
    await health.wait_for_doubt("a", 3600)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await health.wait_for_doubt("a", 3600)


async def test_a_complaint_about_an_ensemble_concerns_all(health: Health) -> None:
    health.failed("ensemble")
    for model in ("a", "b"):
        await health.wait_for_doubt(model, 3600)


async def test_answers_to_callers_put_the_next_look_off(health: Health) -> None:
    waiting = asyncio.create_task(health.wait_for_doubt("a", 0.2))
    for _ in range(5):
        await asyncio.sleep(0.1)
        health.succeeded("a")
        assert not waiting.done()
    await waiting
