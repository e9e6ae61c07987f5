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

_PROBE_PERIOD_S: Final = 1.0
_LONGEST_PROBE_PERIOD_S: Final = 3.0
_PROBE_SHARE: Final = 0.02
"""Part of the time that probing one model may take: slow models are probed less often, and all on a busy machine."""
_PROBE_TIMEOUT_S: Final = 2.0
_SILENCE_S: Final = 6.0
"""Silence may be a long queue, or a server that has just ended; only when it lasts is the model reloaded."""
_SILENT: Final = frozenset({"DEADLINE_EXCEEDED", "UNAVAILABLE"})
_RETRY_S: Final = 0.1
_REST_S: Final = 0.1
"""Between two looks at a model that answers, so that callers' failures can't keep it busy with probes."""
_RELOAD_TIMEOUT_S: Final = 10.0
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


@dataclass(frozen=True)
class Finding:
    """What a look at a model showed: the problem, if any, and whether it was that nobody answered at all."""

    problem: str = ""
    silent: bool = False

    @property
    def answers(self) -> bool:
        """True when there was no problem."""
        return not self.problem


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
        """`launch` starts a new Triton at the same address and returns when it takes calls."""
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
            for probe in self._probes:
                self._health.set_available(probe.model, False, f"Triton ended with status {status}; being restarted")
            if time.monotonic() - started > _SETTLED_S:
                pause_s = 0.0
            pause_s = await self._restart(pause_s)
            # Each model counts as available again when its probe, which comes next, was answered.
            self._up.set()

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

    async def _watch_model(self, probe: Probe) -> None:
        silent_since = 0.0
        period_s = _PROBE_PERIOD_S
        while True:
            await self._health.wait_for_doubt(probe.model, period_s)
            await self._up.wait()
            started = time.monotonic()
            finding = await self._probe(probe)
            share_s = (time.monotonic() - started) / _PROBE_SHARE
            period_s = min(max(_PROBE_PERIOD_S, share_s), _LONGEST_PROBE_PERIOD_S)
            if not self._up.is_set():
                continue
            # An answer to anybody ends a stretch of silence.
            if self._health.last_success(probe.model) > silent_since:
                silent_since = started
            if finding.answers:
                self._health.set_available(probe.model, True, "answers again")
                await asyncio.sleep(_REST_S)
            elif finding.silent and time.monotonic() - silent_since < _SILENCE_S:
                await asyncio.sleep(_RETRY_S)
            else:
                self._health.set_available(probe.model, False, f"{finding.problem}; being reloaded")
                await self._repair(probe)
                silent_since = 0.0

    async def _probe(self, probe: Probe) -> Finding:
        try:
            await triton_client.infer(self._client, probe.model, probe.inputs, _PROBE_TIMEOUT_S)
        except InferenceServerException as error:
            return Finding(error.message() or "no answer", triton_client.status_name(error) in _SILENT)
        except ValueError as error:
            return Finding(str(error))
        return Finding()

    async def _repair(self, probe: Probe) -> None:
        """Reload the model until it answers, or Triton has ended; the other models are not disturbed."""
        pause_s = _FIRST_PAUSE_S
        while self._up.is_set():
            try:
                await triton_client.reload(self._client, probe.model, _RELOAD_TIMEOUT_S)
                problem = (await self._probe(probe)).problem
            except InferenceServerException as error:
                problem = error.message() or "the reload failed"
            except TimeoutError:
                logger.error(
                    "Triton hangs, as reloading %s took over %g s: it is killed", probe.model, _RELOAD_TIMEOUT_S
                )
                self._up.clear()
                self.process.kill()
                return
            if not problem:
                self._health.set_available(probe.model, self._up.is_set(), "was reloaded and answers again")
                return
            logger.warning("model %s does not answer after a reload, next in %.1f s: %s", probe.model, pause_s, problem)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
