"""Health that follows the engine, on a scripted one. That the engine tells the truth is tested with a real Triton."""

import asyncio

import pytest
from grpc_health.v1 import health, health_pb2

from server import readiness
from server.inference.engine import ModelUnavailableError
from server.readiness import Readiness

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class ScriptedEngine:
    name = "triton"

    def __init__(self) -> None:
        self.state: dict[str, bool] | Exception | None = {"fusion": True, "window": True}

    async def answers(self) -> dict[str, bool]:
        if isinstance(self.state, Exception):
            raise self.state
        if self.state is None:
            await asyncio.Event().wait()
        assert self.state is not None
        return self.state


@pytest.mark.parametrize("state", [{"fusion": False, "window": True}, ModelUnavailableError("triton", "gone"), None])
async def test_not_serving_while_a_model_is_away_and_serving_again(monkeypatch, state):
    monkeypatch.setattr(readiness, "_PERIOD_S", 0.01)
    monkeypatch.setattr(readiness, "_TIMEOUT_S", 0.05)
    engine, checks = ScriptedEngine(), health.aio.HealthServicer()
    watching = Readiness(engine, checks, ("", "s"))  # type: ignore[arg-type]
    task = asyncio.create_task(watching.run())

    async def until(status: int) -> None:
        async with asyncio.timeout(10):
            request = health_pb2.HealthCheckRequest(service="s")
            while (await checks.Check(request, None)).status != status:
                await asyncio.sleep(0.01)

    await checks.set("s", SERVING)
    engine.state = state
    await until(NOT_SERVING)
    assert not watching.is_ready
    engine.state = {"fusion": True, "window": True}
    await until(SERVING)
    task.cancel()
    await asyncio.wait([task])
