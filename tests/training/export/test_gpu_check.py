import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from contract.models import MODELS
from training.cli import app
from training.export.gpu_check import TOLERANCE, GpuMismatchError, compare, random_inputs

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@needs_no_gpu
def test_without_a_gpu_it_fails_in_one_sentence(tmp_path):
    result = CliRunner().invoke(app, ["gpu-check", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert (
        result.stderr.strip() == "gpu-check: no CUDA device is visible to PyTorch on this machine; nothing was checked"
    )
    assert not list(tmp_path.iterdir())


@needs_gpu
def test_with_a_gpu_it_writes_a_report(tmp_path, repository):
    result = CliRunner().invoke(app, ["gpu-check", "--repository", str(repository), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert list(tmp_path.glob("*.json"))


def test_a_difference_is_an_error():
    spec = MODELS["fusion"]
    outputs = {tensor.name: np.zeros((2, *tensor.shape), dtype=np.float32) for tensor in spec.outputs}
    assert compare(spec, outputs, outputs) == 0
    for other in (2 * TOLERANCE, np.nan):
        changed = outputs | {"EMOTION": np.full((2, 7), other, dtype=np.float32)}
        with pytest.raises(GpuMismatchError, match="fusion: EMOTION on the GPU differs"):
            compare(spec, outputs, changed)


@pytest.mark.parametrize("name", ["audio_encoder", "video_encoder", "text_encoder", "fusion", "window"])
def test_inputs_fit_the_contract(name):
    inputs = random_inputs(MODELS[name], 4)
    numpy_types = {"FP32": np.float32, "UINT8": np.uint8, "INT64": np.int64}
    assert {key: (value.dtype, value.shape) for key, value in inputs.items()} == {
        t.name: (numpy_types[t.dtype], (4, *t.shape)) for t in MODELS[name].inputs
    }
