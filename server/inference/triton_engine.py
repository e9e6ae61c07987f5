"""The engine that calls a Triton server: the embedded one, or any other by its address."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import grpc
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

from contract.models import MODELS, DType, TensorSpec
from server.inference.engine import EngineError, LoadedModel, ModelUnavailableError, Tensors
from server.triton import client as triton_client
from server.triton.embedded import EmbeddedTriton
from server.triton.errors import is_private
from server.triton.health import Listener
from server.triton.ort_session import GPU_PROVIDERS

logger = logging.getLogger(__name__)

_TRANSIENT: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED"})
_TRANSIENT_WORDS: Final = ("is not healthy", "has no available versions")
"""What Triton says of a model whose stub is dead, and of one that is being reloaded, under codes of lasting errors."""


class TritonEngine:
    """`Engine` over gRPC. `channel` is for calls that are passed on as bytes."""

    name = "triton"

    def __init__(self, url: str, embedded: EmbeddedTriton | None = None) -> None:
        """Use the Triton at `url`. An `embedded` one, already started, is stopped by `close`.

        Of the embedded server it is known which models are being repaired, so that calls to them fail at once, and
        which providers their sessions got; of others the kind of the model's instances is taken for that.
        """
        self.url = url
        self._client = triton_client.connect(url)
        self.channel = grpc.aio.insecure_channel(url, options=triton_client.CHANNEL_OPTIONS)
        self._embedded = embedded
        self._seen: dict[str, LoadedModel] = {}

    @classmethod
    async def start_embedded(cls, repository: Path) -> Self:
        """Start the embedded Triton; raises what entering `EmbeddedTriton` raises."""
        embedded = EmbeddedTriton(repository)
        await embedded.__aenter__()
        return cls(embedded.grpc_url, embedded)

    async def infer(self, model: str, inputs: Tensors, timeout_s: float) -> dict[str, NDArray[Any]]:
        """Run one batch; see `Engine.infer`."""
        if not self.available(model):
            raise ModelUnavailableError(model, "is being repaired")
        try:
            outputs = await triton_client.infer(self._client, model, inputs, timeout_s)
        except InferenceServerException as error:
            raise self._translated(model, error) from error
        except ValueError as error:
            raise EngineError(model, str(error)) from error
        if self._embedded is not None:
            self._embedded.health.succeeded(model)
        return outputs

    async def models(self) -> list[LoadedModel]:
        """Return every model; of one that is not ready, what was known of it when it last was.

        Raises:
            ModelUnavailableError: the server does not answer and never has.
        """
        try:
            versions = await triton_client.ready_versions(self._client)
        except InferenceServerException as error:
            if not self._seen:
                raise ModelUnavailableError("triton", error.message() or "no answer") from error
            versions = dict.fromkeys(self._seen, ())
        return [await self._describe(name, ready) for name, ready in versions.items()]

    async def answers(self) -> dict[str, bool]:
        """See `Engine.answers`: of the embedded server its supervisor knows, others are asked what is ready.

        Raises:
            ModelUnavailableError: another server does not answer.
        """
        if self._embedded is not None:
            return {name: self.available(name) for name, spec in MODELS.items() if spec.backend != "ensemble"}
        try:
            versions = await triton_client.ready_versions(self._client, 1.0)
        except InferenceServerException as error:
            raise ModelUnavailableError("triton", error.message() or "no answer") from error
        return {name: bool(versions.get(name)) for name in MODELS}

    @property
    def metrics_url(self) -> str:
        """Where the embedded server tells its own metrics; empty for others."""
        return "" if self._embedded is None else self._embedded.metrics_url

    async def close(self) -> None:
        """Close the connections, and stop the embedded server if there is one."""
        await self._client.close()
        await self.channel.close()
        if self._embedded is not None:
            await self._embedded.__aexit__(None, None, None)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` when a model goes or comes back; call what is returned to end that.

        Only of the embedded server is that known.
        """
        return self._embedded.subscribe(listener) if self._embedded is not None else _nothing

    def available(self, model: str) -> bool:
        """False while a model is known not to answer, which is known only of the embedded server."""
        return self._embedded is None or self._embedded.health.available(model)

    def report_failure(self, model: str) -> None:
        """Have the supervisor of an embedded server look at a model that gave no answer."""
        if self._embedded is not None:
            self._embedded.health.failed(model)

    def _translated(self, model: str, error: InferenceServerException) -> EngineError:
        status = triton_client.status_name(error)
        message = error.message() or status or "no answer"
        if is_private(message):
            logger.warning("model %s: %s", model, message)
            message = "Triton can't be reached now" if status == "UNAVAILABLE" else "Triton failed"
        if status not in _TRANSIENT and not any(words in message for words in _TRANSIENT_WORDS):
            return EngineError(model, message)
        self.report_failure(model)
        return ModelUnavailableError(model, message)

    async def _describe(self, model: str, versions: tuple[str, ...]) -> LoadedModel:
        """Return the model as it is now. Between the list of models and this it may have been unloaded."""
        if versions:
            with contextlib.suppress(InferenceServerException):
                self._seen[model] = self._loaded(await triton_client.model_config(self._client, model), versions)
                return dataclasses.replace(self._seen[model], ready=self.available(model))
        return dataclasses.replace(self._seen.get(model, LoadedModel(model, (), False, (), (), 0)), ready=False)

    def _loaded(self, config: model_config_pb2.ModelConfig, versions: tuple[str, ...]) -> LoadedModel:
        return LoadedModel(
            name=config.name,
            versions=versions,
            ready=True,
            inputs=tuple(tensor_spec(tensor) for tensor in config.input),
            outputs=tuple(tensor_spec(tensor) for tensor in config.output),
            max_batch_size=config.max_batch_size,
            parameters={key: value.string_value for key, value in config.parameters.items()},
            providers=self._embedded.providers(config.name) if self._embedded else _providers_by_kind(config),
        )


def _nothing() -> None:
    """End a subscription that never was."""


def tensor_spec(tensor: model_config_pb2.ModelInput | model_config_pb2.ModelOutput) -> TensorSpec:
    """Return a tensor of a config in the words of the contract (a data type that it does not know keeps its name)."""
    datatype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    dtype: DType = "BYTES" if datatype == "STRING" else datatype
    return TensorSpec(tensor.name, dtype, tuple(tensor.dims))


def _providers_by_kind(config: model_config_pb2.ModelConfig) -> tuple[str, ...]:
    """Return what Triton's native ONNX Runtime backend gives to such an instance: it refuses to load, or obeys."""
    if config.backend != "onnxruntime":
        return ()
    kinds = {group.kind for group in config.instance_group}
    if kinds != {model_config_pb2.ModelInstanceGroup.KIND_GPU}:
        return ("CPUExecutionProvider",)
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    tensorrt = any(accelerator.name == "tensorrt" for accelerator in accelerators)
    return (*(GPU_PROVIDERS if tensorrt else GPU_PROVIDERS[1:]), "CPUExecutionProvider")
