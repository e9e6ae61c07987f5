"""Runs every student on a GPU: same answers as on the CPU, and how fast.

ONNX Runtime's CUDA provider where onnxruntime-gpu is installed; else the same weights in PyTorch on CUDA, and the
report says so. Without a GPU there is nothing to check, and that is an error.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from contract.models import MODELS, ModelSpec, TensorSpec
from training.data.exported import model_file
from training.export.onnx_files import cpu_session, load_weights
from training.models import STUDENTS, AudioEncoder, Fusion, TextEncoder, VideoEncoder, Window
from training.models.served.text import VOCABULARY

TOLERANCE: Final = 1e-2
"""TF32 and other summation orders on the GPU."""
BATCHES: Final = (1, 4, 16, 64)
_REPEATS: Final = 30

Arrays = dict[str, NDArray[Any]]
Runner = Callable[[Arrays], Arrays]


class NoGpuError(Exception):
    """There is no GPU that can be used."""


class GpuMismatchError(Exception):
    """The GPU computes something else than the CPU."""


@dataclass(frozen=True)
class Timing:
    """One model at one batch size."""

    model: str
    batch: int
    difference: float
    """Largest absolute difference from the CPU's outputs."""
    latency_ms: float
    """Median of a call, copies included."""
    items_per_s: float


def check_gpu(repository: Path, out: Path) -> str:
    """Check every student and the window, write `<out>/<GPU name>.json`, and return a table.

    Raises:
        NoGpuError: no CUDA device, or no runtime that reaches it.
        GpuMismatchError: an output differs from the CPU's by more than TOLERANCE.
    """
    if not torch.cuda.is_available():
        raise NoGpuError("gpu-check: no CUDA device is visible to PyTorch on this machine; nothing was checked")
    with_onnx = "CUDAExecutionProvider" in ort.get_available_providers()
    runtime = "onnxruntime CUDAExecutionProvider" if with_onnx else "PyTorch on CUDA (onnxruntime-gpu is not installed)"
    timings: list[Timing] = []
    for name in (*STUDENTS, "window"):
        spec, path = MODELS[name], model_file(repository, name)
        on_gpu = _onnx_runner(path) if with_onnx else _torch_runner(repository, spec)
        on_cpu = _session_runner(cpu_session(path))
        timings += _measure(spec, on_cpu, on_gpu)
    device = torch.cuda.get_device_name()
    _write(out / f"{device.lower().replace(' ', '_')}.json", device, runtime, timings)
    return _table(device, runtime, timings)


def _measure(spec: ModelSpec, on_cpu: Runner, on_gpu: Runner) -> Iterator[Timing]:
    for batch in (size for size in BATCHES if size <= spec.max_batch_size):
        inputs = random_inputs(spec, batch)
        difference = compare(spec, on_cpu(inputs), on_gpu(inputs))
        seconds = []
        for _ in range(_REPEATS):
            started = time.perf_counter()
            on_gpu(inputs)
            seconds.append(time.perf_counter() - started)
        median = float(np.median(seconds))
        yield Timing(spec.name, batch, difference, 1e3 * median, batch / median)


def compare(spec: ModelSpec, expected: Arrays, found: Arrays) -> float:
    """Return the largest difference of any output; raises GpuMismatchError above TOLERANCE."""
    worst = 0.0
    for tensor in spec.outputs:
        difference = float(np.abs(expected[tensor.name] - found[tensor.name]).max())
        if not difference <= TOLERANCE:
            raise GpuMismatchError(f"{spec.name}: {tensor.name} on the GPU differs from the CPU by {difference:.2e}")
        worst = max(worst, difference)
    return worst


def random_inputs(spec: ModelSpec, batch: int) -> Arrays:
    """Return inputs of the right shapes and ranges: noise, random pixels and pieces, partly masked."""
    rng = np.random.default_rng(batch)
    return {tensor.name: _random(tensor, batch, rng) for tensor in spec.inputs}


def _random(tensor: TensorSpec, batch: int, rng: np.random.Generator) -> NDArray[Any]:
    shape = (batch, *tensor.shape)
    if tensor.name.endswith("MASK"):
        present = np.arange(tensor.shape[0]) < rng.integers(1, tensor.shape[0] + 1, (batch, 1))
        return present.astype(np.float32 if tensor.dtype == "FP32" else np.int64)
    if tensor.dtype == "UINT8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if tensor.dtype == "INT64":
        return rng.integers(0, VOCABULARY, shape)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)


def _session_runner(session: ort.InferenceSession) -> Runner:
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _onnx_runner(path: Path) -> Runner:
    session = ort.InferenceSession(str(path), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    # A session that can't use CUDA falls back to the CPU silently: only the session itself knows.
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise NoGpuError(f"gpu-check: ONNX Runtime runs {path} on {session.get_providers()}, not on CUDA")
    return _session_runner(session)


def _torch_runner(repository: Path, spec: ModelSpec) -> Runner:
    window = Window(AudioEncoder(), VideoEncoder(), TextEncoder(), Fusion())
    for name in STUDENTS:
        load_weights(window.get_submodule(name), model_file(repository, name))
    model = (window if spec.name == "window" else window.get_submodule(spec.name)).eval().cuda()

    def run(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            outputs = model(*(torch.from_numpy(inputs[tensor.name]).cuda() for tensor in spec.inputs))
        return {tensor.name: output.cpu().numpy() for tensor, output in zip(spec.outputs, outputs, strict=True)}

    return run


def _write(path: Path, device: str, runtime: str, timings: list[Timing]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m training gpu-check",
        "device": device,
        "runtime": runtime,
        "tolerance": TOLERANCE,
        "timings": [asdict(timing) for timing in timings],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")


def _table(device: str, runtime: str, timings: list[Timing]) -> str:
    lines = [f"{device}, {runtime}", f"{'model':<15}{'batch':>6}{'ms':>9}{'items/s':>11}{'difference':>12}"]
    lines += [
        f"{t.model:<15}{t.batch:>6}{t.latency_ms:>9.2f}{t.items_per_s:>11.0f}{t.difference:>12.1e}" for t in timings
    ]
    return "\n".join(lines)
