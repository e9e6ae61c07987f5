"""The engine that runs the repository's models in this process, for machines on which the embedded Triton can't run."""

import asyncio
import functools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from server.inference.engine import EngineError, LoadedModel, ModelUnavailableError, Tensors
from server.inference.tokenizer import Tokenizer
from server.inference.triton_engine import tensor_spec
from server.triton.ort_session import open_session

_TOKENIZER_MODEL: Final = "tokenizer"
_MAX_WORKERS: Final = 4

Run = Callable[[Tensors], dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class _Served:
    model: LoadedModel
    run: Run


class OnnxEngine:
    """`Engine` over ONNX Runtime sessions of one thread each; runs go to worker threads, which the session leaves free.

    Ensembles are not served: they are for KServe clients, whom this engine does not answer. Of a model with several
    versions the newest is loaded.
    """

    name = "onnxruntime"

    def __init__(self, served: Mapping[str, _Served]) -> None:
        self._served = served
        workers = min(_MAX_WORKERS, os.cpu_count() or 1)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="onnxruntime")

    @classmethod
    async def open(cls, repository: Path) -> "OnnxEngine":
        """Load every model of the repository.

        Raises:
            EngineError: a config or a model can't be read.
        """
        return cls(await asyncio.to_thread(_load_repository, repository))

    async def infer(self, model: str, inputs: Tensors, timeout_s: float) -> dict[str, NDArray[Any]]:
        """Run one batch; see `Engine.infer`. A run that exceeds its time is not interrupted, only no longer awaited."""
        served = self._served.get(model)
        if served is None:
            raise EngineError(model, "is not served by the in-process engine")
        _check_batch(served.model, inputs)
        run = asyncio.get_running_loop().run_in_executor(self._executor, served.run, inputs)
        try:
            async with asyncio.timeout(timeout_s):
                outputs = await run
        except TimeoutError:
            raise ModelUnavailableError(model, f"no answer within {timeout_s:g} s") from None
        except Exception as error:
            # ONNX Runtime's exceptions have no common base class.
            raise EngineError(model, str(error)) from error
        return outputs

    async def models(self) -> list[LoadedModel]:
        """Return every model that is served."""
        return [served.model for served in self._served.values()]

    async def answers(self) -> dict[str, bool]:
        """See `Engine.answers`: a session in this process can't go away."""
        return dict.fromkeys(self._served, True)

    async def close(self) -> None:
        """Wait for the runs under way and end the worker threads."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)


def _load_repository(repository: Path) -> dict[str, _Served]:
    paths = sorted(repository.glob("*/config.pbtxt"))
    if not paths:
        raise EngineError("repository", f"no */config.pbtxt under {repository}")
    configs = [_read_config(path) for path in paths]
    return {
        config.name: _load_model(config, path.parent)
        for config, path in zip(configs, paths, strict=True)
        if config.platform != "ensemble"
    }


def _read_config(path: Path) -> model_config_pb2.ModelConfig:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (text_format.ParseError, OSError) as error:
        raise EngineError(path.parent.name, f"config.pbtxt can't be read: {error}") from error


def _load_model(config: model_config_pb2.ModelConfig, folder: Path) -> _Served:
    versions = sorted((path.name for path in folder.iterdir() if path.name.isdigit()), key=int)
    if not versions:
        raise EngineError(config.name, "has no version folder")
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    run, providers = _runner(config, folder / versions[-1], parameters)
    model = LoadedModel(
        name=config.name,
        versions=(versions[-1],),
        ready=True,
        inputs=tuple(tensor_spec(tensor) for tensor in config.input),
        outputs=tuple(tensor_spec(tensor) for tensor in config.output),
        max_batch_size=config.max_batch_size,
        parameters=parameters,
        providers=providers,
    )
    return _Served(model, run)


def _runner(
    config: model_config_pb2.ModelConfig, folder: Path, parameters: Mapping[str, str]
) -> tuple[Run, tuple[str, ...]]:
    """Return the function that runs the model, and the providers of its session."""
    try:
        if config.backend == "onnxruntime":
            session = open_session(
                folder / (config.default_model_filename or "model.onnx"), parameters, gpu=_gpu_of(config)
            )
            names = [tensor.name for tensor in config.output]
            return functools.partial(_run_session, session, names), tuple(session.get_providers())
        if config.name == _TOKENIZER_MODEL:
            return functools.partial(_run_tokenizer, Tokenizer(folder / "tokenizer.json")), ()
    except Exception as error:
        # Neither ONNX Runtime's nor the tokenizer's exceptions have a base class below Exception.
        raise EngineError(config.name, f"can't be loaded: {error}") from error
    raise EngineError(config.name, f"the in-process engine can't run the backend {config.backend!r}")


def _gpu_of(config: model_config_pb2.ModelConfig) -> int | None:
    group = model_config_pb2.ModelInstanceGroup
    kinds = {item.kind for item in config.instance_group}
    return None if kinds == {group.KIND_CPU} else 0


def _run_session(session: Any, names: list[str], inputs: Tensors) -> dict[str, NDArray[Any]]:
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _run_tokenizer(tokenizer: Tokenizer, inputs: Tensors) -> dict[str, NDArray[Any]]:
    return tokenizer.encode([_decoded(text) for text in inputs["TEXT"].ravel()])


def _decoded(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode("utf-8")


def _check_batch(model: LoadedModel, inputs: Tensors) -> None:
    """Refuse what Triton would refuse: other names, types, shapes or batches than the config's."""
    expected = {tensor.name: tensor for tensor in model.inputs}
    if inputs.keys() != expected.keys():
        raise EngineError(model.name, f"expected inputs {sorted(expected)}, got {sorted(inputs)}")
    rows = {array.shape[:1] for array in inputs.values()}
    if len(rows) != 1 or not 1 <= next(iter(rows))[0] <= model.max_batch_size:
        raise EngineError(model.name, f"batch must be 1 to {model.max_batch_size} and the same for all, got {rows}")
    for name, array in inputs.items():
        tensor = expected[name]
        if array.shape[1:] != tensor.shape or array.dtype != _NUMPY_TYPES.get(tensor.dtype):
            raise EngineError(model.name, f"expected {tensor} after the batch, got {array.dtype} {list(array.shape)}")


_NUMPY_TYPES: Final = {
    "FP32": np.dtype(np.float32),
    "UINT8": np.dtype(np.uint8),
    "INT64": np.dtype(np.int64),
    "BYTES": np.dtype(np.object_),
}
