"""The engine that calls a Triton server: the embedded one, or any other by its address."""

from typing import Any, Final, Protocol

from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

from contract.models import DType, TensorSpec
from server.inference.engine import EngineError, LoadedModel, ModelUnavailableError, Tensors
from server.triton import client as triton_client
from server.triton.ort_session import GPU_PROVIDERS

_TRANSIENT: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED"})
_TRANSIENT_WORDS: Final = ("is not healthy", "has no available versions")
"""What Triton says of a model whose stub is dead, and of one that is being reloaded, under codes of lasting errors."""


class Watcher(Protocol):
    """Whoever looks after the server and wants to hear how calls went."""

    def available(self, model: str) -> bool:
        """False while it is known that the model does not answer."""
        ...

    def succeeded(self, model: str) -> None:
        """Hear that the model has answered."""
        ...

    def failed(self, model: str, message: str) -> None:
        """Hear that the model gave no answer."""
        ...


class Providers(Protocol):
    """Tells which execution providers the sessions of a model got."""

    def __call__(self, model: str) -> tuple[str, ...]:
        """Return the providers, empty for a model without a session."""
        ...


class TritonEngine:
    """`Engine` over gRPC. With a `watcher`, calls to a model that is being repaired fail at once instead of waiting."""

    name = "triton"

    def __init__(self, url: str, watcher: Watcher | None = None, providers: Providers | None = None) -> None:
        """`providers` is for a server whose sessions are known; otherwise the model's instance kind is taken for it."""
        self.url = url
        self._client = triton_client.connect(url)
        self._watcher = watcher
        self._providers = providers
        self._seen: dict[str, LoadedModel] = {}

    async def infer(self, model: str, inputs: Tensors, timeout_s: float) -> dict[str, NDArray[Any]]:
        """Run one batch; see `Engine.infer`."""
        if self._watcher is not None and not self._watcher.available(model):
            raise ModelUnavailableError(model, "is being repaired")
        try:
            outputs = await triton_client.infer(self._client, model, inputs, timeout_s)
        except InferenceServerException as error:
            raise self._translated(model, error) from error
        except ValueError as error:
            raise EngineError(model, str(error)) from error
        if self._watcher is not None:
            self._watcher.succeeded(model)
        return outputs

    async def models(self) -> list[LoadedModel]:
        """Return every model; of one that is not ready, what was known of it when it last was."""
        try:
            versions = await triton_client.ready_versions(self._client)
            for name in [name for name, ready in versions.items() if ready]:
                self._seen[name] = self._loaded(await triton_client.model_config(self._client, name), versions[name])
        except InferenceServerException as error:
            raise ModelUnavailableError("triton", error.message() or "no answer") from error
        return [self._present(name, ready) for name, ready in versions.items()]

    async def close(self) -> None:
        """Close the connection; the server goes on."""
        await self._client.close()

    def _translated(self, model: str, error: InferenceServerException) -> EngineError:
        status = triton_client.status_name(error)
        message = error.message() or status or "no answer"
        if status not in _TRANSIENT and not any(words in message for words in _TRANSIENT_WORDS):
            return EngineError(model, message)
        if self._watcher is not None:
            self._watcher.failed(model, message)
        return ModelUnavailableError(model, message)

    def _loaded(self, config: model_config_pb2.ModelConfig, versions: tuple[str, ...]) -> LoadedModel:
        return LoadedModel(
            name=config.name,
            versions=versions,
            ready=True,
            inputs=tuple(tensor_spec(tensor) for tensor in config.input),
            outputs=tuple(tensor_spec(tensor) for tensor in config.output),
            max_batch_size=config.max_batch_size,
            parameters={key: value.string_value for key, value in config.parameters.items()},
            providers=self._providers(config.name) if self._providers else _providers_by_kind(config),
        )

    def _present(self, name: str, versions: tuple[str, ...]) -> LoadedModel:
        seen = self._seen.get(name) or LoadedModel(name, (), False, (), (), 0)
        ready = bool(versions) and (self._watcher is None or self._watcher.available(name))
        return LoadedModel(
            name, versions or seen.versions, ready, seen.inputs, seen.outputs, seen.max_batch_size, seen.parameters,
            seen.providers,
        )  # fmt: skip


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
