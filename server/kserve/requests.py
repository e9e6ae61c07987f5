"""Holds an inference request against the contract, so that nothing that the contract does not know reaches Triton."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from contract.models import MODELS, DType, ModelSpec, TensorSpec
from server.kserve.errors import KServeError, invalid

MAX_FIELDS: Final = 1024
"""Of an inference request: the largest one that is meant, 16 texts and 5 tensors for `moodstream`, has about 100."""
MAX_TEXT_BYTES: Final = 16 * 1024
"""Of one element of a BYTES tensor: the tokenizer's time grows with it, and it answers everybody."""
_MAX_ID_BYTES: Final = 128
_ITEM_BYTES: Final[Mapping[DType, int]] = {"FP32": 4, "UINT8": 1, "INT64": 8}
_CONTENTS: Final[Mapping[DType, str]] = {
    "FP32": "fp32_contents",
    "UINT8": "uint_contents",
    "INT64": "int64_contents",
    "BYTES": "bytes_contents",
}
_PARAMETERS: Final = {"timeout": "int64_param", "triton_enable_empty_final_response": "bool_param"}
"""Parameters of a request that mean something here: a bound on its time in the queue, and what perf_analyzer says."""


def check_inference(request: service_pb2.ModelInferRequest) -> ModelSpec:
    """Check a request and drop from it what KServe does not define; return the model that it is about.

    Raises:
        KServeError: NOT_FOUND for a model that is not ours, PERMISSION_DENIED for tensors in shared memory, and
            INVALID_ARGUMENT for everything else that the contract does not say.
    """
    spec = ours(request.model_name)
    if len(request.id.encode()) > _MAX_ID_BYTES:
        raise invalid(f"id has more than {_MAX_ID_BYTES} bytes, which is the limit")
    check_version(request.model_version)
    _check_parameters("the request", request.parameters, _PARAMETERS)
    inputs = _by_name(spec, "input", request.inputs, spec.inputs)
    if missing := [tensor.name for tensor in spec.inputs if tensor.name not in inputs]:
        raise invalid(f"model {spec.name} needs the input {missing[0]}")
    batch = _batch_size(spec, inputs)
    _check_contents(request, inputs, batch)
    for output in _by_name(spec, "output", request.outputs, spec.outputs).values():
        _check_output(output[0], output[1])
    request.DiscardUnknownFields()
    return spec


def ours(model: str) -> ModelSpec:
    """Return the model of that name; raises KServeError (NOT_FOUND) when it is not ours."""
    if not model:
        raise invalid(f"the request must name a model; there are {', '.join(MODELS)}")
    if model not in MODELS:
        there = ", ".join(MODELS)
        raise KServeError(grpc.StatusCode.NOT_FOUND, f"model {_quoted(model)} is not served here; there are {there}")
    return MODELS[model]


def check_version(version: str) -> None:
    """Check that a version is empty (the newest) or a number, as in the repository; raises KServeError."""
    if version and not (version.isascii() and version.isdigit() and len(version) <= 18):
        raise invalid(f"version {_quoted(version)} is not a number")


def _by_name(
    spec: ModelSpec, direction: str, tensors: Collection[Any], known: tuple[TensorSpec, ...]
) -> dict[str, tuple[Any, TensorSpec]]:
    """Return each tensor with what the contract says of it; raises KServeError for a stranger and for a second one."""
    specs = {tensor.name: tensor for tensor in known}
    found: dict[str, tuple[Any, TensorSpec]] = {}
    for tensor in tensors:
        if tensor.name not in specs:
            there = ", ".join(specs)
            raise invalid(f"model {spec.name} has no {direction} {_quoted(tensor.name)}; there are {there}")
        if tensor.name in found:
            raise invalid(f"{direction} {tensor.name} is there twice")
        found[tensor.name] = (tensor, specs[tensor.name])
    return found


def _batch_size(spec: ModelSpec, inputs: Mapping[str, tuple[Any, TensorSpec]]) -> int:
    """Check types and shapes; return the number of items, which is the same in all inputs."""
    batch = 0
    for tensor, expected in inputs.values():
        _check_parameters(f"input {expected.name}", tensor.parameters, {})
        if tensor.datatype != expected.dtype:
            raise invalid(f"input {expected.name} is {_quoted(tensor.datatype)}, expected {expected.dtype}")
        shape = tuple(tensor.shape)
        if len(shape) != 1 + len(expected.shape) or shape[1:] != expected.shape:
            raise invalid(f"input {expected.name} has the shape {_listed(shape)}, expected {_batched(expected)}")
        if not 1 <= shape[0] <= spec.max_batch_size:
            raise invalid(f"input {expected.name} has {shape[0]} items, expected 1 to {spec.max_batch_size}")
        if batch not in (0, shape[0]):
            raise invalid(f"input {expected.name} has {shape[0]} items, another one has {batch}")
        batch = shape[0]
    return batch


def _check_contents(
    request: service_pb2.ModelInferRequest, inputs: Mapping[str, tuple[Any, TensorSpec]], batch: int
) -> None:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise invalid(f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs")
    for index, tensor in enumerate(request.inputs):
        expected = inputs[tensor.name][1]
        if raw:
            if tensor.HasField("contents"):
                raise invalid(f"input {tensor.name} has contents beside raw_input_contents: send one of them")
            _check_raw(expected, raw[index], batch)
        else:
            _check_typed(expected, tensor.contents, batch)


def _check_raw(expected: TensorSpec, content: bytes, batch: int) -> None:
    count = batch * int(np.prod(expected.shape))
    if expected.dtype == "BYTES":
        _check_texts(expected.name, _raw_sizes(expected.name, content, count), count)
    elif len(content) != (size := count * _ITEM_BYTES[expected.dtype]):
        raise invalid(f"input {expected.name} has {len(content)} raw bytes, its shape says {size}")


def _raw_sizes(name: str, content: bytes, count: int) -> list[int]:
    """Return the sizes of the elements of a raw BYTES tensor, at most one more than `count`."""
    sizes: list[int] = []
    position = 0
    while position < len(content) and len(sizes) <= count:
        size = int.from_bytes(content[position : position + 4], "little")
        position += 4 + size
        sizes.append(size)
    if len(sizes) <= count and position != len(content):
        raise invalid(f"the elements of input {name} end beyond its raw bytes")
    return sizes


def _check_typed(expected: TensorSpec, contents: service_pb2.InferTensorContents, batch: int) -> None:
    field = _CONTENTS[expected.dtype]
    if others := [found.name for found, _ in contents.ListFields() if found.name != field]:
        raise invalid(f"input {expected.name} has {others[0]}, expected {field}")
    values = getattr(contents, field)
    count = batch * int(np.prod(expected.shape))
    if expected.dtype == "BYTES":
        _check_texts(expected.name, [len(value) for value in values], count)
    elif len(values) != count:
        raise invalid(f"input {expected.name} has {len(values)} elements, its shape says {count}")


def _check_texts(name: str, sizes: list[int], count: int) -> None:
    if len(sizes) != count:
        found = f"{len(sizes)}" if len(sizes) < count else f"more than {count}"
        raise invalid(f"input {name} has {found} elements, its shape says {count}")
    if max(sizes) > MAX_TEXT_BYTES:
        raise invalid(f"an element of input {name} has {max(sizes)} bytes: at most {MAX_TEXT_BYTES} are taken")


def _check_output(output: Any, expected: TensorSpec) -> None:
    _check_parameters(f"output {expected.name}", output.parameters, {"classification": "int64_param"})
    if "classification" in output.parameters:
        classes = output.parameters["classification"].int64_param
        if len(expected.shape) != 1 or not 1 <= classes <= expected.shape[0]:
            raise invalid(f"classification of output {expected.name} asks for {classes} of its classes")


def _check_parameters(where: str, parameters: Mapping[str, Any], known: Mapping[str, str]) -> None:
    if any(key.startswith("shared_memory") for key in parameters):
        raise KServeError(
            grpc.StatusCode.PERMISSION_DENIED,
            f"{where} is in shared memory, which is not open on this port: send it in the message",
        )
    for key, value in parameters.items():
        if key not in known:
            there = ", ".join(known) or "none"
            raise invalid(f"{where} has the parameter {_quoted(key)}; known there: {there}")
        if (kind := value.WhichOneof("parameter_choice")) != known[key]:
            raise invalid(f"parameter {key} of {where} is {kind or 'empty'}, expected {known[key]}")


def _quoted(text: str) -> str:
    """Return a client's own word for an error message: short, and on one line."""
    return repr(text if len(text) <= 64 else f"{text[:64]}...")


def _listed(shape: Iterable[int]) -> str:
    sizes = list(shape)
    return str(sizes) if len(sizes) <= 8 else f"of {len(sizes)} dimensions"


def _batched(spec: TensorSpec) -> str:
    return f"[B, {', '.join(map(str, spec.shape))}]"
