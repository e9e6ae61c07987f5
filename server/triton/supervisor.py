"""Keeps a Triton answering: probes its models with real inferences, repairs a dead one, restarts a dead server.

A stub that was killed is never restarted by Triton: calls fail after a second while readiness stays true. Unloading and
loading the model gives it a new one. How a Triton is launched is the business of whoever makes the supervisor.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from server.triton import client as triton_client
from server.triton.errors import TritonError
from server.triton.health import Health

logger = logging.getLogger("moodstream.triton")

PROBE_PERIOD_S: Final = 1.0
_PROBE_TIMEOUT_S: Final = 2.0
_TIMEOUTS_BEFORE_REPAIR: Final = 3
"""A probe that times out may only have waited behind a long queue."""
_RELOAD_TIMEOUT_S: Final = 10.0
_REPAIRS_BEFORE_RESTART: Final = 3
_SETTLED_S: Final = 30.0
"""A Triton that ran for this long is restarted at once, others after a pause that doubles."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0


class Process(Protocol):
    """What the supervisor needs of a running Triton."""

    async def wait(self) -> int:
        """Wait for its end and return the exit status."""
        ...

    def kill(self) -> None:
        """Kill it."""
        ...

    async def stop(self) -> None:
        """Stop it in order."""
        ...


@dataclass(frozen=True)
class Probe:
    """A model that is looked at, with inputs that it must be able to answer."""

    model: str
    inputs: Mapping[str, NDArray[Any]]
    dependents: tuple[str, ...] = ()
    """Ensembles that use the model and are unloaded with it."""


class Supervisor:
    """Runs as long as its `run` is awaited. `process` is the present Triton; it is ready when handed over."""

    def __init__(
        self,
        client: InferenceServerClient,
        health: Health,
        process: Process,
        probes: tuple[Probe, ...],
        launch: Callable[[], Awaitable[Process]],
    ) -> None:
        """`launch` starts a new Triton at the same address and returns when every model has answered."""
        self.process = process
        self._client = client
        self._health = health
        self._probes = probes
        self._launch = launch
        self._up = asyncio.Event()
        self._up.set()

    async def run(self) -> None:
        """Supervise until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_process(), name="triton-process")
            for probe in self._probes:
                tasks.create_task(self._watch_model(probe), name=f"triton-{probe.model}")

    async def _watch_process(self) -> None:
        pause_s = 0.0
        while True:
            started = time.monotonic()
            status = await self.process.wait()
            self._up.clear()
            self._tell_all(False, f"Triton ended with status {status} and is being restarted")
            if time.monotonic() - started > _SETTLED_S:
                pause_s = 0.0
            pause_s = await self._restart(pause_s)
            self._up.set()
            self._tell_all(True, "Triton was restarted")

    async def _restart(self, pause_s: float) -> float:
        """Launch until it succeeds and return the pause to make before the next restart."""
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(max(_FIRST_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S)
            try:
                self.process = await self._launch()
            except TritonError as error:
                logger.error("Triton could not be restarted, next attempt in %.1f s: %s", pause_s, error)
            else:
                return pause_s

    def _tell_all(self, available: bool, message: str) -> None:
        for probe in self._probes:
            self._health.set_available(probe.model, available, message)

    async def _watch_model(self, probe: Probe) -> None:
        timeouts = 0
        while True:
            complaint = await self._health.wait_for_doubt(probe.model, PROBE_PERIOD_S)
            await self._up.wait()
            problem = complaint if _means_dead_stub(complaint) else await self._probe(probe)
            timeouts = timeouts + 1 if problem == _TIMED_OUT else 0
            if not problem:
                self._health.set_available(probe.model, True, "answers again")
            elif self._up.is_set() and (timeouts == 0 or timeouts >= _TIMEOUTS_BEFORE_REPAIR):
                self._health.set_available(probe.model, False, f"{problem}; being reloaded")
                await self._repair(probe)

    async def _probe(self, probe: Probe) -> str:
        """Return what is wrong with the model, empty if it answers."""
        try:
            await triton_client.infer(self._client, probe.model, probe.inputs, _PROBE_TIMEOUT_S)
        except InferenceServerException as error:
            if triton_client.status_name(error) == "DEADLINE_EXCEEDED":
                return _TIMED_OUT
            return error.message() or "the probe failed"
        except ValueError as error:
            return str(error)
        return ""

    async def _repair(self, probe: Probe) -> None:
        """Reload the model until it answers, or until Triton itself is given up or has ended."""
        for attempt in range(_REPAIRS_BEFORE_RESTART):
            try:
                await triton_client.reload(self._client, probe.model, _RELOAD_TIMEOUT_S)
                for ensemble in probe.dependents:
                    await self._client.load_model(ensemble, client_timeout=_RELOAD_TIMEOUT_S)
                problem = await self._probe(probe)
            except InferenceServerException as error:
                problem = error.message() or "the reload failed"
            except TimeoutError:
                problem = f"the reload took more than {_RELOAD_TIMEOUT_S:g} s"
            if not self._up.is_set():
                return
            if not problem:
                self._health.set_available(probe.model, True, "was reloaded and answers again")
                return
            logger.warning("model %s is still not answering after a reload: %s", probe.model, problem)
            await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)
        logger.error("model %s can't be repaired by reloading it: Triton is restarted", probe.model)
        self.process.kill()
        self._up.clear()


_TIMED_OUT: Final = f"no answer within {_PROBE_TIMEOUT_S:g} s"


def _means_dead_stub(complaint: str) -> bool:
    """Tell whether what a caller heard leaves no doubt, so that no probe has to wait for the same answer again."""
    return "is not healthy" in complaint
