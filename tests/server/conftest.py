"""One embedded Triton and one in-process engine for all tests of the server, and small repositories to break.

They live in the one event loop of the run (pyproject.toml).
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from onnx import TensorProto, helper, save_model

from server.inference.onnx_engine import OnnxEngine
from server.inference.triton_engine import TritonEngine
from server.triton.errors import TritonUnavailableError
from server.triton.wheel import TritonWheel, find_wheel

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The real model repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def wheel() -> TritonWheel:
    """The files of the embedded Triton; skips where it can't run."""
    try:
        return find_wheel()
    except TritonUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
async def triton_engine(wheel: TritonWheel, repository: Path) -> AsyncIterator[TritonEngine]:
    """The engine over an embedded Triton with the real repository. Do not kill parts of it: others use it."""
    engine = await TritonEngine.start_embedded(repository)
    yield engine
    await engine.close()


@pytest.fixture(scope="session")
async def onnx_engine(repository: Path) -> AsyncIterator[OnnxEngine]:
    """The in-process engine with the real repository."""
    engine = await OnnxEngine.open(repository)
    yield engine
    await engine.close()


@pytest.fixture
def small_repository(tmp_path: Path) -> Path:
    """Two models: `double` gives Y = 2 X; `pick` gives the INDEX-th of 0, 10, 20, and fails for any other index."""
    root = tmp_path / "repository"
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    _write_model(
        root / "double",
        nodes=[helper.make_node("Mul", ["X", "two"], ["Y"])],
        constants=[two],
        x=("X", TensorProto.FLOAT, "TYPE_FP32", 4),
        y=("Y", TensorProto.FLOAT, "TYPE_FP32", 4),
    )
    table = helper.make_tensor("table", TensorProto.FLOAT, [3], [0.0, 10.0, 20.0])
    _write_model(
        root / "pick",
        nodes=[helper.make_node("Gather", ["table", "INDEX"], ["VALUE"])],
        constants=[table],
        x=("INDEX", TensorProto.INT64, "TYPE_INT64", 1),
        y=("VALUE", TensorProto.FLOAT, "TYPE_FP32", 1),
        extra="dynamic_batching { preferred_batch_size: [ 3 ] max_queue_delay_microseconds: 500000 }",
    )
    return root


_Tensor = tuple[str, int, str, int]
"""Name, ONNX type, Triton type, width."""


def _write_model(folder: Path, *, nodes: list, constants: list, x: _Tensor, y: _Tensor, extra: str = "") -> None:
    (folder / "1").mkdir(parents=True)
    inputs = [helper.make_tensor_value_info(x[0], x[1], ["N", x[3]])]
    outputs = [helper.make_tensor_value_info(y[0], y[1], ["N", y[3]])]
    graph = helper.make_graph(nodes, folder.name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save_model(model, folder / "1" / "model.onnx")
    (folder / "config.pbtxt").write_text(
        f'name: "{folder.name}"\nbackend: "onnxruntime"\nmax_batch_size: 16\n'
        f'input [ {{ name: "{x[0]}" data_type: {x[2]} dims: [ {x[3]} ] }} ]\n'
        f'output [ {{ name: "{y[0]}" data_type: {y[2]} dims: [ {y[3]} ] }} ]\n'
        f"instance_group [ {{ count: 1 kind: KIND_AUTO }} ]\n{extra}\n"
    )
