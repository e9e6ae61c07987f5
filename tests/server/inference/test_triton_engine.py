import asyncio
import os
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from server.inference.engine import EngineError, ModelUnavailableError
from server.inference.triton_engine import TritonEngine, _providers_by_kind
from server.triton.health import ModelEvent
from tests.server.triton.processes import stub_of

X = {"X": np.ones((1, 4), np.float32)}


async def until_it_answers(engine: TritonEngine) -> list[str]:
    """Call until there is an answer and return what was said before; every error must invite another try."""
    said = []
    async with asyncio.timeout(20):
        while True:
            try:
                outputs = await engine.infer("double", X, 5.0)
            except ModelUnavailableError as error:
                said.append(str(error))
                await asyncio.sleep(0.02)
            else:
                np.testing.assert_array_equal(outputs["Y"], 2 * X["X"])
                return said


@pytest.mark.usefixtures("wheel")
async def test_comes_back_after_every_death(small_repository: Path) -> None:
    events: list[ModelEvent] = []
    engine = await TritonEngine.start_embedded(small_repository)
    engine.subscribe(events.append)
    assert all(model.ready for model in await engine.models())

    stub_of(os.getpid(), "double").kill()
    said = await until_it_answers(engine)
    assert any("not healthy" in words for words in said)
    assert [(event.model, event.available) for event in events] == [("double", False), ("double", True)]

    server = stub_of(os.getpid(), "double").parent()
    assert server is not None
    server.kill()
    server.wait(5)
    assert {(model.name, model.ready) for model in await engine.models()} == {("double", False), ("pick", False)}
    assert await until_it_answers(engine)
    async with asyncio.timeout(10):
        while not all(model.ready for model in await engine.models()):
            await asyncio.sleep(0.02)
    await engine.close()


async def test_another_triton_by_its_address(triton_engine: TritonEngine) -> None:
    """What knows the server by its address only describes it as the one that started it does."""
    other = TritonEngine(triton_engine.url)
    assert await other.models() == await triton_engine.models()
    face = {"FACE": np.zeros((1, 64, 64, 3), np.uint8)}
    await other.infer("video_encoder", face, 5.0)
    other.subscribe(print)()
    await other.close()
    await triton_engine.infer("video_encoder", face, 5.0)  # still runs


async def test_nobody_there() -> None:
    engine = TritonEngine("unix:/nowhere/grpc:1")
    with pytest.raises(ModelUnavailableError):
        await engine.infer("double", X, 1.0)
    with pytest.raises(ModelUnavailableError):
        await engine.models()
    await engine.close()


@pytest.mark.usefixtures("wheel")
async def test_a_failing_model_is_the_inputs_fault(small_repository: Path) -> None:
    engine = await TritonEngine.start_embedded(small_repository)
    with pytest.raises(EngineError, match="pick") as error:
        await engine.infer("pick", {"INDEX": np.array([[7]], np.int64)}, 5.0)
    assert not isinstance(error.value, ModelUnavailableError)
    await engine.close()


@pytest.mark.parametrize(
    ("text", "providers"),
    [
        ('backend: "python"', ()),
        ('backend: "onnxruntime" instance_group { kind: KIND_CPU }', ("CPUExecutionProvider",)),
        (
            'backend: "onnxruntime" instance_group { kind: KIND_GPU }',
            ("CUDAExecutionProvider", "CPUExecutionProvider"),
        ),
        (
            'backend: "onnxruntime" instance_group { kind: KIND_GPU } optimization '
            '{ execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }',
            ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        ),
    ],
)
def test_providers_of_a_native_backend(text: str, providers: tuple[str, ...]) -> None:
    assert _providers_by_kind(text_format.Parse(text, ModelConfig())) == providers
