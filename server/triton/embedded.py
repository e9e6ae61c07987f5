"""The embedded Triton as one object: started, supervised, stopped."""

import asyncio
import contextlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from server.triton import client as triton_client
from server.triton import launch, shm
from server.triton.errors import TritonStartError
from server.triton.health import Health, Listener
from server.triton.layout import Layout, lay_out
from server.triton.log import TritonLog
from server.triton.process import TritonProcess
from server.triton.supervisor import Probe, Supervisor
from server.triton.wheel import find_wheel

logger = logging.getLogger("moodstream.triton")

_START_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.03
_FIRST_INFERENCE_TIMEOUT_S: Final = 30.0


class EmbeddedTriton:
    """An async context manager: inside it, every model of the repository answers at `grpc_url`, and is kept answering.

    Entering raises `TritonUnavailableError` where the wheel can't run and `TritonStartError` when a model does not load
    or answer; nothing is left behind then. Leaving stops Triton within 10 s.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._log = TritonLog()
        self.health = Health()
        """Which models answer. Callers of `grpc_url` report their failures here, so that repair begins at once."""
        self.metrics_url = ""
        """Triton's Prometheus page; the port changes when Triton is restarted."""

    async def __aenter__(self) -> Self:
        self._wheel = find_wheel()
        async with contextlib.AsyncExitStack() as stack:
            for prefix in shm.sweep_abandoned():
                logger.info("removed the shared memory that %s left behind", prefix)
            self._prefix = shm.claim_prefix()
            stack.callback(self._prefix.release)
            self._layout: Layout = lay_out(self._wheel)
            stack.callback(shutil.rmtree, self._layout.root, ignore_errors=True)
            self._client: InferenceServerClient = triton_client.connect(self.grpc_url)
            stack.push_async_callback(self._client.close)

            process = await self._launch()
            stack.push_async_callback(process.stop)
            probes = await self._first_inferences()
            self.health.watch([probe.model for probe in probes])
            self._supervisor = Supervisor(self._client, self.health, process, probes, self._launch)
            stack.push_async_callback(self._stop)
            self._supervision = asyncio.create_task(self._supervisor.run(), name="triton-supervisor")
            self._supervision.add_done_callback(_log_failure)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    @property
    def grpc_url(self) -> str:
        """Address of the gRPC service; the same across restarts."""
        return launch.grpc_url(self._layout)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each `ModelEvent`; call what is returned to end that."""
        return self.health.subscribe(listener)

    def log_tail(self, count: int = 200) -> list[str]:
        """Return the last lines of Triton's log."""
        return self._log.tail(count)

    def providers(self, model: str) -> tuple[str, ...]:
        """Return the execution providers that the sessions of the model really got; empty for models without one.

        Where several versions or instances differ, only what all of them got is returned.
        """
        notes = [json.loads(path.read_text(encoding="utf-8")) for path in self._layout.sessions.glob("*.json")]
        lists = [note["providers"] for note in notes if note["model"] == model]
        return tuple(name for name in lists[0] if all(name in other for other in lists)) if lists else ()

    async def _launch(self) -> TritonProcess:
        """Start Triton and return when it takes calls: whatever can be loaded is loaded then."""
        port = launch.free_port()
        command = launch.command(self._wheel, self._layout, self._repository, "moodstream", self._prefix.name, port)
        env = launch.environment(self._wheel, self._layout)
        process = await TritonProcess.start(command, env, self._layout.root, self._prefix, self._log)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self._wait_until_live(process)
        except BaseException as error:
            process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise TritonStartError(f"Triton did not start within {_START_TIMEOUT_S:g} s") from None
            raise
        self.metrics_url = f"http://127.0.0.1:{port}/metrics"
        return process

    async def _wait_until_live(self, process: TritonProcess) -> None:
        while True:
            if not process.running:
                status = await process.wait()
                raise TritonStartError(f"Triton ended with status {status} while starting: {self._log.reason()}")
            with contextlib.suppress(InferenceServerException):
                if await self._client.is_server_live(client_timeout=1.0):
                    return
            await asyncio.sleep(_POLL_S)

    async def _first_inferences(self) -> tuple[Probe, ...]:
        """Let every model answer once and return the probes of all but ensembles.

        An ensemble has no stub of its own: Triton unloads and loads it with the models that it is made of.
        """
        index = await self._client.get_model_repository_index()
        for entry in index.models:
            if entry.state != "READY":
                raise TritonStartError(f"model {entry.name} can't be loaded: {entry.reason or self._log.reason()}")
        names = {entry.name for entry in index.models}
        configs = await asyncio.gather(*(triton_client.model_config(self._client, name) for name in names))
        await asyncio.gather(*(self._first_inference(config) for config in configs))
        return tuple(
            Probe(config.name, triton_client.zero_inputs(config))
            for config in configs
            if not config.ensemble_scheduling.step
        )

    async def _first_inference(self, config: ModelConfig) -> None:
        try:
            inputs = triton_client.zero_inputs(config)
            await triton_client.infer(self._client, config.name, inputs, _FIRST_INFERENCE_TIMEOUT_S)
        except (InferenceServerException, ValueError) as error:
            raise TritonStartError(f"model {config.name} does not answer: {error}") from error

    async def _stop(self) -> None:
        self._supervision.cancel()
        await asyncio.wait([self._supervision])
        await self._supervisor.process.stop()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the supervision of Triton has ended: models will not be repaired", exc_info=error)
