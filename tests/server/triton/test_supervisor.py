"""The supervisor's judgement, on a scripted Triton. What it does to a real one is in test_embedded.py."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from server.triton import client as triton_client
from server.triton import supervisor
from server.triton.errors import TritonStartError
from server.triton.health import Health
from server.triton.supervisor import Probe, Supervisor

DEAD = (grpc.StatusCode.INTERNAL, "Stub process 'm_0_0' is not healthy.")
FULL = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")


@dataclass
class ScriptedTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers as `fault` says until the model is reloaded."""

    fault: tuple[grpc.StatusCode, str] | None = None
    reload_cures: bool = True
    reload_hangs: bool = False
    inferences: int = 0
    reloads: int = 0

    async def ModelInfer(self, request: object, context: grpc.aio.ServicerContext) -> object:  # noqa: N802
        self.inferences += 1
        if self.fault is not None:
            await context.abort(*self.fault)
        return service_pb2.ModelInferResponse()

    async def RepositoryModelUnload(self, request: object, context: object) -> object:  # noqa: N802
        if self.reload_hangs:
            await asyncio.Event().wait()
        return service_pb2.RepositoryModelUnloadResponse()

    async def RepositoryModelLoad(self, request: object, context: object) -> object:  # noqa: N802
        self.reloads += 1
        if self.reload_cures:
            self.fault = None
        return service_pb2.RepositoryModelLoadResponse()


class Process:
    """A process that ends when it is killed."""

    def __init__(self) -> None:
        self.end = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self.end)

    def kill(self) -> None:
        self.end.set_result(137)

    async def stop(self) -> None:
        self.kill()


@dataclass
class Supervised:
    triton: ScriptedTriton
    health: Health
    processes: list[Process]
    failing_launches: int = 0

    async def launch(self) -> Process:
        if self.failing_launches:
            self.failing_launches -= 1
            raise TritonStartError("not yet")
        self.triton.fault = None
        self.processes.append(Process())
        return self.processes[-1]


@asynccontextmanager
async def supervised(triton: ScriptedTriton) -> AsyncIterator[Supervised]:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    health = Health()
    health.watch(["m"])
    state = Supervised(triton, health, [Process()])
    async with triton_client.connect(f"127.0.0.1:{port}") as client:
        probe = Probe("m", {"X": np.zeros((1, 1), np.float32)})
        task = asyncio.create_task(Supervisor(client, health, state.processes[0], (probe,), state.launch).run())
        yield state
        task.cancel()
        await asyncio.wait([task])
    await server.stop(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "_PROBE_PERIOD_S": 0.05,
        "_LONGEST_PROBE_PERIOD_S": 0.05,
        "_RETRY_S": 0.01,
        "_REST_S": 0.0,
        "_FIRST_PAUSE_S": 0.02,
        "_RELOAD_TIMEOUT_S": 0.3,
    }.items():
        monkeypatch.setattr(supervisor, name, value)


async def test_a_dead_stub_is_found_without_any_caller() -> None:
    async with supervised(ScriptedTriton()) as state:
        events = []
        state.health.subscribe(events.append)
        state.triton.fault = DEAD
        await until(lambda: len(events) == 2)
    assert [event.available for event in events] == [False, True]
    assert state.triton.reloads == 1


async def test_a_caller_without_an_answer_has_the_model_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_PROBE_PERIOD_S", 3600)
    async with supervised(ScriptedTriton(fault=DEAD)) as state:
        await asyncio.sleep(0.1)
        assert state.triton.inferences == 0
        state.health.failed("m")
        await until(lambda: state.triton.reloads == 1)
        await until(lambda: state.health.available("m"))
    assert state.triton.inferences == 2  # one finds it dead, one proves the repair


async def test_callers_failures_alone_repair_nothing() -> None:
    async with supervised(ScriptedTriton()) as state:
        for _ in range(50):
            state.health.failed("m")
            await asyncio.sleep(0.005)
        assert state.triton.reloads == 0
        assert state.health.available("m")


async def test_a_full_queue_is_no_reason_to_reload() -> None:
    async with supervised(ScriptedTriton(fault=FULL)) as state:
        await until(lambda: state.triton.inferences > 5)
        assert state.triton.reloads == 0
        assert state.health.available("m")


async def test_answers_to_callers_excuse_a_silent_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_SILENCE_S", 0.3)
    async with supervised(ScriptedTriton(fault=FULL)) as state:
        for _ in range(30):
            state.health.succeeded("m")
            state.health.failed("m")
            await asyncio.sleep(0.03)
        assert state.triton.reloads == 0
        await until(lambda: state.triton.reloads > 0)  # nobody is answered any more


async def test_a_model_that_stays_dead_is_reloaded_again_and_again() -> None:
    async with supervised(ScriptedTriton(fault=DEAD, reload_cures=False)) as state:
        await until(lambda: state.triton.reloads >= 3)
        assert not state.health.available("m")
        assert len(state.processes) == 1
        state.triton.reload_cures = True
        await until(lambda: state.health.available("m"))


async def test_a_triton_that_hangs_is_killed_and_started_again() -> None:
    async with supervised(ScriptedTriton(fault=DEAD, reload_hangs=True)) as state:
        await until(lambda: len(state.processes) == 2)
        await until(lambda: state.health.available("m"))
    assert state.processes[0].end.done()


async def test_launching_is_tried_until_it_succeeds() -> None:
    async with supervised(ScriptedTriton()) as state:
        state.failing_launches = 3
        state.processes[0].kill()
        await until(lambda: len(state.processes) == 2)
        await until(lambda: state.health.available("m"))
    assert state.failing_launches == 0
