import importlib.metadata
from pathlib import Path

import pytest

from contract.models import MODELS
from server.inference import select
from server.inference.engine import EngineError, LoadedModel
from server.inference.repository import RepositoryError
from server.inference.select import (
    EngineSettings,
    EngineSetupError,
    GpuRequiredError,
    check_gpu,
    check_one_onnxruntime,
    open_engine,
)
from server.inference.triton_engine import TritonEngine
from server.triton import embedded
from server.triton.errors import TritonStartError, TritonUnavailableError

CPU = ("CPUExecutionProvider",)
GPU = ("CUDAExecutionProvider", "CPUExecutionProvider")


def no_triton() -> None:
    raise TritonUnavailableError("the embedded Triton runs on linux x86_64 only, this is darwin arm64")


def model(name: str, providers: tuple[str, ...]) -> LoadedModel:
    return LoadedModel(name, ("1",), True, (), (), 1, {}, providers)


async def test_in_process_where_asked_for(repository: Path) -> None:
    engine, reason = await open_engine(EngineSettings(repository, "onnxruntime"))
    assert (engine.name, reason) == ("onnxruntime", "the in-process engine was asked for")
    assert {model.name for model in await engine.models()} == MODELS.keys() - {"moodstream"}
    await engine.close()


async def test_auto_prefers_triton(wheel: object, repository: Path) -> None:
    engine, reason = await open_engine(EngineSettings(repository))
    assert (engine.name, reason) == ("triton", "")
    await engine.close()


async def test_auto_falls_back_and_says_why(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_wheel", no_triton)
    engine, reason = await open_engine(EngineSettings(repository))
    assert engine.name == "onnxruntime"
    assert reason == "the embedded Triton runs on linux x86_64 only, this is darwin arm64"
    await engine.close()


async def test_triton_does_not_fall_back(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_wheel", no_triton)
    with pytest.raises(TritonUnavailableError):
        await open_engine(EngineSettings(repository, "triton"))


@pytest.mark.usefixtures("wheel")
async def test_a_repository_that_triton_refuses(small_repository: Path) -> None:
    (small_repository / "pick" / "1" / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(TritonStartError):
        await open_engine(EngineSettings(small_repository, "triton"))
    with pytest.raises(EngineError, match="pick"):
        await open_engine(EngineSettings(small_repository, "auto"))


async def test_another_triton_by_its_address(triton_engine: TritonEngine, tmp_path: Path) -> None:
    engine, reason = await open_engine(EngineSettings(tmp_path, "auto", triton_engine.url))
    assert (engine.name, reason) == ("triton", "")
    await engine.close()


async def test_a_repository_that_does_not_fit(small_repository: Path) -> None:
    with pytest.raises(RepositoryError, match="no model 'audio_encoder'"):
        await open_engine(EngineSettings(small_repository, "onnxruntime"))


async def test_an_address_and_in_process_contradict_each_other(repository: Path) -> None:
    with pytest.raises(EngineSetupError, match="choose one"):
        await open_engine(EngineSettings(repository, "onnxruntime", "localhost:8001"))


async def test_a_required_gpu_is_missed(triton_engine: TritonEngine, repository: Path) -> None:
    settings = EngineSettings(repository, "triton", triton_engine.url, require_gpu=True)
    if any("CUDAExecutionProvider" in model.providers for model in await triton_engine.models()):
        pytest.skip("there is a GPU")
    with pytest.raises(GpuRequiredError, match="audio_encoder got CPUExecutionProvider"):
        await open_engine(settings)


def test_every_session_needs_the_gpu() -> None:
    check_gpu([model("a", GPU), model("tokenizer", ())])
    with pytest.raises(GpuRequiredError, match="given: b got CPUExecutionProvider"):
        check_gpu([model("a", GPU), model("b", CPU)])
    with pytest.raises(GpuRequiredError, match="no model has a session"):
        check_gpu([model("tokenizer", ())])


@pytest.mark.parametrize(
    ("installed", "sentence"),
    [({"onnxruntime", "onnxruntime-gpu"}, "are both installed"), (set(), "no ONNX Runtime is installed")],
)
def test_one_onnxruntime(installed: set[str], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package not in installed:
            raise importlib.metadata.PackageNotFoundError
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(EngineSetupError, match=sentence):
        check_one_onnxruntime()


def test_either_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "_installed", lambda package: package == "onnxruntime-gpu")
    check_one_onnxruntime()
