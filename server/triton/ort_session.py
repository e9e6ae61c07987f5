"""Opens an ONNX Runtime session the way a model's `config.pbtxt` asks for it.

Used in process and, copied beside the backend's `model.py`, inside Triton's stub. So it imports nothing of ours, and
ONNX Runtime only when a session is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

GPU_PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
"""Providers that count as a GPU, the preferred one first."""


def open_session(path: Path, parameters: Mapping[str, str], *, gpu: int | None = None, tensorrt: bool = False) -> Any:
    """Return an `onnxruntime.InferenceSession` for the file.

    Args:
        path: the ONNX file.
        parameters: of the model's config; `intra_op_thread_count` and `inter_op_thread_count` are read, as Triton's
            native backend does. Unset means 1: a front end that batches gains nothing from more threads a model.
        gpu: number of the GPU to use where the installed ONNX Runtime can; None for the CPU.
        tensorrt: put TensorRT before CUDA.

    What the session really got is in its `get_providers()`: without a driver ONNX Runtime falls back to the CPU and
    only logs it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", "1"))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", "1"))
    # The arena never gives memory back: one batch of 16 windows would cost 200 MB for ever. Without it a run takes 1 to
    # 5 % longer.
    options.enable_cpu_mem_arena = False
    providers: list[Any] = ["CPUExecutionProvider"]
    if gpu is not None:
        wanted = GPU_PROVIDERS if tensorrt else GPU_PROVIDERS[1:]
        available = onnxruntime.get_available_providers()
        found = [(name, {"device_id": str(gpu)}) for name in wanted if name in available]
        if found:
            # The CUDA and cuDNN wheels are not on the loader's path.
            onnxruntime.preload_dlls()
        providers = [*found, *providers]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
