"""PyTorch student -> one ONNX file, with parity checked on real inputs before anything is written.

The parameters keep their PyTorch names in the file, so `load_weights` reads a student back from it: the ONNX files of
the repository are the only copy of the weights that is kept.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from contract.models import ModelSpec

OPSET: Final = 18
MAX_IR_VERSION: Final = 10
"""Triton 24.10 serves the same files with ONNX Runtime 1.19, which reads no newer ones."""
PARITY: Final = 1e-4

Arrays = Mapping[str, NDArray[Any]]


class ParityError(Exception):
    """The exported graph does not compute what the PyTorch model computes."""


def to_onnx(model: nn.Module, spec: ModelSpec, examples: Arrays) -> tuple[bytes, float]:
    """Export `model` with the names and shapes of `spec` and a dynamic batch, and check it on `examples`.

    Args:
        model: takes and returns the tensors of `spec` in order.
        spec: the signature.
        examples: real inputs by name, batch first, at least two items.

    Returns:
        The file, and the largest difference of an output from PyTorch's.

    Raises:
        ParityError: an output differs from PyTorch's by more than PARITY on the examples, or has another shape.
    """
    model.eval()
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(examples[tensor.name])) for tensor in spec.inputs)
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.onnx.export(
        model,
        inputs,
        input_names=[tensor.name for tensor in spec.inputs],
        output_names=[tensor.name for tensor in spec.outputs],
        dynamic_shapes=tuple({0: batch} for _ in inputs),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        optimize=False,  # keeps the parameters' names; ONNX Runtime optimises when it loads
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    _strip(proto, spec)
    content: bytes = proto.SerializeToString()
    return content, check_parity(content, spec, examples, reference_outputs(model, spec, inputs))


def with_weights(content: bytes, model: nn.Module, spec: ModelSpec, examples: Arrays) -> tuple[bytes, float]:
    """Put the weights of `model` into the file of another one of its shape, and check it as `to_onnx` does.

    The graph of one architecture is traced once, however many students of it are exported. Constants that were computed
    from weights would be missed; the check finds them.
    """
    model.eval()
    proto = onnx.load(io.BytesIO(content))
    state = model.state_dict()
    for initializer in proto.graph.initializer:
        if initializer.name in state:
            array = state[initializer.name].detach().cpu().contiguous().numpy()
            initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(examples[tensor.name])) for tensor in spec.inputs)
    changed: bytes = proto.SerializeToString()
    return changed, check_parity(changed, spec, examples, reference_outputs(model, spec, inputs))


def reference_outputs(model: nn.Module, spec: ModelSpec, inputs: tuple[Tensor, ...]) -> Arrays:
    """Return PyTorch's outputs by name."""
    with torch.inference_mode():
        outputs = model(*inputs)
    return {tensor.name: output.numpy() for tensor, output in zip(spec.outputs, outputs, strict=True)}


def check_parity(content: bytes, spec: ModelSpec, examples: Arrays, expected: Arrays) -> float:
    """Return the largest difference between ONNX Runtime's outputs and `expected`; raises ParityError above PARITY."""
    session = cpu_session(content)
    outputs = session.run([tensor.name for tensor in spec.outputs], {t.name: examples[t.name] for t in spec.inputs})
    worst = 0.0
    for tensor, output in zip(spec.outputs, outputs, strict=True):
        if output.shape[1:] != tensor.shape or output.shape != expected[tensor.name].shape:
            raise ParityError(f"{spec.name}: {tensor.name} has shape {output.shape}, the contract says {tensor.shape}")
        difference = float(np.abs(output - expected[tensor.name]).max())
        if not difference <= PARITY:  # also catches NaN
            raise ParityError(f"{spec.name}: {tensor.name} differs from PyTorch by {difference:.2e}")
        worst = max(worst, difference)
    return worst


def cpu_session(model: bytes | Path) -> ort.InferenceSession:
    """Open a model as the server does: one thread, CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def load_weights(model: nn.Module, path: Path) -> None:
    """Read the parameters of `model` back from the file that `to_onnx` wrote; raises KeyError when one is missing."""
    stored = {tensor.name: tensor for tensor in onnx.load(io.BytesIO(path.read_bytes())).graph.initializer}
    state = {name: torch.from_numpy(numpy_helper.to_array(stored[name]).copy()) for name in _needed(model)}
    model.load_state_dict(state, strict=False)


def _needed(model: nn.Module) -> list[str]:
    return [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]


def _strip(proto: onnx.ModelProto, spec: ModelSpec) -> None:
    """Take out what depends on the exporting machine (source paths in the nodes' metadata) and name the graph."""
    if proto.ir_version > MAX_IR_VERSION:
        raise ParityError(f"{spec.name}: IR version {proto.ir_version} is above {MAX_IR_VERSION}")
    graph = proto.graph
    graph.name = spec.name
    proto.doc_string = ""
    del proto.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    for initializer in graph.initializer:
        initializer.doc_string = ""
        del initializer.metadata_props[:]
