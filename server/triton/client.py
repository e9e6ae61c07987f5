"""What this project asks of any Triton, over tritonclient: connect, probe, list, repair. Raw numpy in and out.

One client per process and server is meant to live as long as the process: making new ones leaks
(triton-inference-server/client#731).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, model_config_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import (
    InferenceServerException,
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    triton_to_np_dtype,
)

Tensors = Mapping[str, NDArray[Any]]

MAX_MESSAGE_BYTES: Final = 64 << 20
CHANNEL_OPTIONS: Final = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A restarted server is found again within this time; gRPC's own backoff grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Notices a server that vanished without closing the connection; Triton refuses pings less than 5 minutes apart.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


def connect(url: str) -> InferenceServerClient:
    """Return a client for `host:port` or `unix:path`; it connects with the first call."""
    return InferenceServerClient(url, channel_args=CHANNEL_OPTIONS)


async def infer(
    client: InferenceServerClient, model: str, inputs: Tensors, timeout_s: float
) -> dict[str, NDArray[Any]]:
    """Run one batch and return the outputs by name.

    Raises:
        InferenceServerException: Triton refused or failed; `status()` tells the gRPC code.
        ValueError: an output has another number of bytes than its shape says.
    """
    tensors = []
    for name, array in inputs.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        tensors.append(tensor)
    response = (await client.infer(model, tensors, client_timeout=timeout_s)).get_response()
    if len(response.raw_output_contents) != len(response.outputs):
        raise ValueError(f"{len(response.outputs)} outputs came with {len(response.raw_output_contents)} contents")
    return {
        output.name: _to_array(output.name, output.datatype, tuple(output.shape), content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def _to_array(name: str, datatype: str, shape: tuple[int, ...], content: bytes) -> NDArray[Any]:
    """Decode one output. Bytes are counted: a stub under numpy 2 answers with the right shape and none."""
    if datatype == "BYTES":
        array: NDArray[Any] = deserialize_bytes_tensor(content)
        if array.size != int(np.prod(shape)):
            raise ValueError(f"output {name} has {array.size} elements, its shape {list(shape)} says {np.prod(shape)}")
        return array.reshape(shape)
    dtype = np.dtype(triton_to_np_dtype(datatype))
    expected = int(np.prod(shape)) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"output {name} has {len(content)} bytes, its shape {list(shape)} {datatype} says {expected}")
    return np.frombuffer(content, dtype=dtype).reshape(shape)


async def model_config(
    client: InferenceServerClient, model: str, timeout_s: float = 5.0
) -> model_config_pb2.ModelConfig:
    """Return the config with which the model is loaded."""
    response = await client.get_model_config(model, client_timeout=timeout_s)
    config: model_config_pb2.ModelConfig = response.config
    return config


async def ready_versions(client: InferenceServerClient, timeout_s: float = 5.0) -> dict[str, tuple[str, ...]]:
    """Return the names of the models in the repository, each with the versions that are ready (none: not served)."""
    index = await client.get_model_repository_index(client_timeout=timeout_s)
    versions: dict[str, tuple[str, ...]] = {}
    for entry in index.models:
        ready = (entry.version,) if entry.state == "READY" else ()
        versions[entry.name] = versions.get(entry.name, ()) + ready
    return versions


def zero_inputs(config: model_config_pb2.ModelConfig) -> dict[str, NDArray[Any]]:
    """Return a batch of one item made of zeros (empty strings for BYTES), which every model must be able to answer."""
    batch = [1] if config.max_batch_size > 0 else []
    return {tensor.name: _zeros(tensor, batch) for tensor in config.input if not tensor.optional}


def _zeros(tensor: model_config_pb2.ModelInput, batch: list[int]) -> NDArray[Any]:
    shape = batch + [max(1, size) for size in tensor.dims]
    datatype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    if datatype == "STRING":
        return np.full(shape, b"", dtype=np.object_)
    return np.zeros(shape, dtype=triton_to_np_dtype(datatype))


async def reload(client: InferenceServerClient, model: str, timeout_s: float) -> None:
    """Unload the model and load it again, which gives it a new stub (`load` alone does nothing)."""
    async with asyncio.timeout(timeout_s):
        await client.unload_model(model)
        await client.load_model(model)


def status_name(error: InferenceServerException) -> str:
    """Return the gRPC status code of a failed call, as `UNAVAILABLE`; empty when the error did not come from a call."""
    return (error.status() or "").removeprefix("StatusCode.")
