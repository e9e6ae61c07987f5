"""Chooses and opens the engine, and says in one line why it is not the preferred one."""

import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from contract.models import MODELS
from server.inference.engine import Engine, LoadedModel
from server.inference.onnx_engine import OnnxEngine
from server.inference.repository import check_repository
from server.inference.triton_engine import TritonEngine
from server.triton.errors import TritonError
from server.triton.ort_session import GPU_PROVIDERS

logger = logging.getLogger(__name__)

EngineChoice = Literal["auto", "triton", "onnxruntime"]
_ORT_PACKAGES: Final = ("onnxruntime", "onnxruntime-gpu")


class EngineSetupError(Exception):
    """No engine can be opened as asked. The message is one sentence for the terminal."""


class GpuRequiredError(EngineSetupError):
    """A GPU was required and a model's session did not get one."""


@dataclass(frozen=True)
class EngineSettings:
    """What the operator asks for."""

    repository: Path
    """The model repository; with `triton_url` only its tokenizer is read, if it is there."""
    choice: EngineChoice = "auto"
    triton_url: str | None = None
    """`host:port` of a Triton that runs already; None for the embedded one."""
    require_gpu: bool = False


async def open_engine(settings: EngineSettings) -> tuple[Engine, str]:
    """Open the engine, check its models against the contract, and return it with the reason for a fall-back.

    Returns:
        The engine, which the caller closes, and why it is not the preferred one (empty when it is).

    Raises:
        EngineSetupError: the settings contradict each other, there is no repository, or both ONNX Runtimes are
            installed.
        GpuRequiredError: see there.
        RepositoryError: a model does not fit the contract.
        TritonError, EngineError: the engine that was asked for can't start, or a model can't be loaded.
    """
    if settings.choice == "onnxruntime" and settings.triton_url:
        raise EngineSetupError("a Triton address was given together with the in-process engine: choose one")
    if settings.triton_url is None:
        check_one_onnxruntime()
        if not settings.repository.is_dir():
            raise EngineSetupError(f"the model repository {settings.repository} is not a folder")
    engine, reason = await _open(settings)
    try:
        models = await engine.models()
        check_repository(models, [name for name in MODELS if _served(name, engine)])
        if settings.require_gpu:
            check_gpu(models)
    except BaseException:
        await engine.close()
        raise
    return engine, reason


async def _open(settings: EngineSettings) -> tuple[Engine, str]:
    if settings.choice == "onnxruntime":
        return await OnnxEngine.open(settings.repository), "the in-process engine was asked for"
    if settings.triton_url is not None:
        return TritonEngine(settings.triton_url), ""
    try:
        return await TritonEngine.start_embedded(settings.repository), ""
    except TritonError as error:
        if settings.choice == "triton":
            raise
        logger.warning("the in-process engine answers: %s", error)
        return await OnnxEngine.open(settings.repository), str(error)


def _served(model: str, engine: Engine) -> bool:
    """Tell whether the engine is to serve the model: the in-process one serves no ensembles."""
    return engine.name == TritonEngine.name or MODELS[model].backend != "ensemble"


def check_gpu(models: Sequence[LoadedModel]) -> None:
    """Check that every model with a session got a GPU provider: ONNX Runtime falls back to the CPU silently.

    Raises:
        GpuRequiredError: a session got none.
    """
    without = {model.name: model.providers for model in models if model.providers and not _on_gpu(model)}
    if without or not any(_on_gpu(model) for model in models):
        got = "; ".join(f"{name} got {', '.join(providers)}" for name, providers in without.items())
        raise GpuRequiredError(
            f"a GPU is required, but no CUDA or TensorRT provider was given: {got or 'no model has a session'}"
        )


def _on_gpu(model: LoadedModel) -> bool:
    return any(provider in GPU_PROVIDERS for provider in model.providers)


def check_one_onnxruntime() -> None:
    """Check that not both builds of ONNX Runtime are installed: they overwrite each other's files.

    Raises:
        EngineSetupError: none or both are.
    """
    found = [name for name in _ORT_PACKAGES if _installed(name)]
    if len(found) == 2:
        raise EngineSetupError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "uninstall both, then install one of the extras [cpu] and [gpu]"
        )
    if not found:
        raise EngineSetupError("no ONNX Runtime is installed: install one of the extras [cpu] and [gpu]")


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
