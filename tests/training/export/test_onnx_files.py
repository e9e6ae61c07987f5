import numpy as np
import onnx
import pytest
import torch
from torch import nn

from contract.models import ModelSpec, TensorSpec
from training.export.onnx_files import ParityError, check_parity, load_weights, to_onnx
from training.models import STUDENTS

SPEC = ModelSpec("tiny", "onnxruntime", (TensorSpec("X", "FP32", (4,)),), (TensorSpec("Y", "FP32", (2,)),), 8)
EXAMPLES = {"X": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}


class Tiny(nn.Module):
    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(4, outputs)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.norm(self.linear(x)),)


def export(model: nn.Module) -> bytes:
    return to_onnx(model, SPEC, EXAMPLES)[0]


@pytest.fixture(scope="module")
def content() -> bytes:
    torch.manual_seed(0)
    return export(Tiny())


def test_the_batch_is_dynamic_and_nothing_of_the_machine_is_in_the_file(content):
    proto = onnx.load_from_string(content)
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert b"site-packages" not in content
    assert b"/tests/" not in content


def test_a_difference_is_refused(content):
    expected = {"Y": np.zeros((3, 2), dtype=np.float32)}
    with pytest.raises(ParityError, match="tiny: Y differs from PyTorch by"):
        check_parity(content, SPEC, EXAMPLES, expected)


def test_nan_is_refused(content):
    with pytest.raises(ParityError, match="nan"):
        check_parity(content, SPEC, EXAMPLES, {"Y": np.full((3, 2), np.nan, dtype=np.float32)})


def test_another_shape_is_refused():
    with pytest.raises(ParityError, match=r"Y has shape \(3, 5\)"):
        export(Tiny(outputs=5))


def test_weights_come_back_from_the_file(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    again = Tiny()
    load_weights(again, path)
    output = again.eval()(torch.from_numpy(EXAMPLES["X"]))[0]
    check_parity(content, SPEC, EXAMPLES, {"Y": output.detach().numpy()})


@pytest.mark.parametrize("name", STUDENTS)
def test_the_committed_students_come_back_as_pytorch(name, repository, run, inputs):
    model = STUDENTS[name]()
    load_weights(model, repository / name / "1/model.onnx")
    batch = inputs(name, 3)
    with torch.inference_mode():
        outputs = model.eval()(*(torch.from_numpy(value) for value in batch.values()))
    for expected, output in zip(run(name, batch).values(), outputs, strict=True):
        np.testing.assert_allclose(output.numpy(), expected, atol=1e-4)


def test_a_missing_weight_is_named(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(KeyError, match=r"pieces\.weight|positions"):
        load_weights(STUDENTS["text_encoder"](), path)
