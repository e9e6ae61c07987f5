"""What both engines promise, on the real repository."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.models import MODELS, ModelSpec
from contract.text import frame_pieces
from server.inference.engine import Engine, EngineError, ModelUnavailableError
from server.inference.onnx_engine import OnnxEngine
from server.inference.triton_engine import TritonEngine

TEXTS = ["What a wonderful day!", "", "no \N{PILE OF POO} emoji " * 40]


def inputs_of(spec: ModelSpec, batch: int = 3) -> dict[str, NDArray]:
    random = np.random.default_rng(0)
    arrays: dict[str, NDArray] = {}
    for tensor in spec.inputs:
        shape = (batch, *tensor.shape)
        if tensor.dtype == "BYTES":
            arrays[tensor.name] = np.array([[text.encode()] for text in TEXTS], dtype=np.object_)
        elif tensor.dtype == "FP32":
            mask = tensor.name.endswith("MASK")
            arrays[tensor.name] = (random.random(shape) if not mask else np.ones(shape)).astype(np.float32)
        else:
            arrays[tensor.name] = random.integers(0, 256 if tensor.dtype == "UINT8" else 2, shape).astype(
                np.uint8 if tensor.dtype == "UINT8" else np.int64
            )
    return arrays


@pytest.fixture(params=["triton_engine", "onnx_engine"])
def engine(request: pytest.FixtureRequest, triton_engine: TritonEngine, onnx_engine: OnnxEngine) -> Engine:
    return triton_engine if request.param == "triton_engine" else onnx_engine


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.backend != "ensemble"])
async def test_both_give_the_same(triton_engine: TritonEngine, onnx_engine: OnnxEngine, name: str) -> None:
    inputs = inputs_of(MODELS[name])
    ours, theirs = await asyncio.gather(triton_engine.infer(name, inputs, 10.0), onnx_engine.infer(name, inputs, 10.0))
    assert {output.name for output in MODELS[name].outputs} == ours.keys() == theirs.keys()
    for output in MODELS[name].outputs:
        assert ours[output.name].shape == (3, *output.shape)
        np.testing.assert_allclose(ours[output.name], theirs[output.name], atol=1e-6)


async def test_texts_are_framed_as_the_contract_says(engine: Engine) -> None:
    outputs = await engine.infer("tokenizer", inputs_of(MODELS["tokenizer"]), 5.0)
    no_ids, no_mask = frame_pieces([])
    np.testing.assert_array_equal(outputs["INPUT_IDS"][1], no_ids)
    np.testing.assert_array_equal(outputs["ATTENTION_MASK"][1], no_mask)
    np.testing.assert_array_equal(outputs["TEXT_MASK"], outputs["ATTENTION_MASK"].astype(np.float32))
    assert outputs["ATTENTION_MASK"][2].all()  # the long text fills all 64


async def test_models_are_described(engine: Engine) -> None:
    models = {model.name: model for model in await engine.models()}
    assert models.keys() >= MODELS.keys() - {"moodstream"}
    for model in models.values():
        assert model.ready
        assert model.versions
        assert model.inputs == MODELS[model.name].inputs
        with_session = MODELS[model.name].backend == "onnxruntime"
        assert bool(model.providers) == with_session


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("no_such_model", {"X": np.zeros((1, 1), np.float32)}),
        ("video_encoder", {"FACE": np.zeros((1, 32, 64, 3), np.uint8)}),
        ("video_encoder", {"FACE": np.zeros((1, 64, 64, 3), np.float32)}),
        ("video_encoder", {"FACE": np.zeros((65, 64, 64, 3), np.uint8)}),
        ("video_encoder", {"IMAGE": np.zeros((1, 64, 64, 3), np.uint8)}),
        ("text_encoder", {"INPUT_IDS": np.zeros((1, 64), np.int64)}),
        ("tokenizer", {"TEXT": np.array([[b"\xff"]], dtype=np.object_)}),
    ],
)
async def test_bad_input_is_refused_for_good(engine: Engine, model: str, inputs: dict[str, NDArray]) -> None:
    with pytest.raises(EngineError) as error:
        await engine.infer(model, inputs, 5.0)
    assert not isinstance(error.value, ModelUnavailableError)
    assert error.value.model == model


async def test_too_little_time_is_no_fault_of_the_input(engine: Engine) -> None:
    with pytest.raises(ModelUnavailableError):
        await engine.infer("window", inputs_of(MODELS["window"]), 1e-6)
    await engine.infer("window", inputs_of(MODELS["window"]), 10.0)


async def test_cancellation_is_not_swallowed(engine: Engine) -> None:
    call = asyncio.create_task(engine.infer("window", inputs_of(MODELS["window"]), 10.0))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
