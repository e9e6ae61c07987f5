"""The calls that perf_analyzer and tritonclient make for a batch model, over plain gRPC."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as kserve

from server.app import running_server
from server.settings import ServerSettings
from server.triton.errors import TritonUnavailableError
from server.triton.wheel import find_wheel

ROOT = Path(__file__).parents[2]
OUTPUTS = {"SENTIMENT": 1, "POLARITY": 3, "EMOTION": 7, "CONTRIBUTION": 3}
DTYPES: dict[str, type[np.generic]] = {"FP32": np.float32, "UINT8": np.uint8, "INT64": np.int64}


@pytest.fixture(scope="module")
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    try:
        find_wheel()
    except TritonUnavailableError as error:
        pytest.skip(str(error))
    settings = ServerSettings(repository=ROOT / "model_repository", engine="triton", port=0)
    async with running_server(settings) as running, grpc.aio.insecure_channel(running.address) as open_channel:
        yield open_channel


async def ask(channel: grpc.aio.Channel, method: str, request: Any) -> Any:
    answer = getattr(kserve, f"{method}Response")
    call = channel.unary_unary(
        f"/inference.GRPCInferenceService/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,
    )
    return await call(request)


async def zeros(channel: grpc.aio.Channel, model: str, batch: int) -> kserve.ModelInferRequest:
    """A request as perf_analyzer makes it from the model's metadata, with `--input-data zero`."""
    metadata = await ask(channel, "ModelMetadata", kserve.ModelMetadataRequest(name=model))
    request = kserve.ModelInferRequest(model_name=model, id="0")
    for tensor in metadata.inputs:
        shape = [batch, *tensor.shape[1:]]
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        if tensor.datatype == "BYTES":
            request.raw_input_contents.append(b"\0\0\0\0" * batch)
        else:
            request.raw_input_contents.append(np.zeros(shape, DTYPES[tensor.datatype]).tobytes())
    return request


@pytest.mark.parametrize("model", ["moodstream", "window"])
async def test_what_perf_analyzer_asks(channel: grpc.aio.Channel, model: str) -> None:
    server = await ask(channel, "ServerMetadata", kserve.ServerMetadataRequest())
    assert {"statistics", "model_configuration"} <= set(server.extensions)
    metadata = await ask(channel, "ModelMetadata", kserve.ModelMetadataRequest(name=model))
    assert {tensor.name for tensor in metadata.outputs} == set(OUTPUTS)
    assert all(tensor.shape[0] == -1 for tensor in metadata.inputs)
    config = (await ask(channel, "ModelConfig", kserve.ModelConfigRequest(name=model))).config
    assert (config.name, config.max_batch_size) == (model, 16)
    for step in config.ensemble_scheduling.step:
        part = await ask(channel, "ModelConfig", kserve.ModelConfigRequest(name=step.model_name))
        assert part.config.name == step.model_name
    before = await ask(channel, "ModelStatistics", kserve.ModelStatisticsRequest())
    assert model in {one.name for one in before.model_stats}
    response = await ask(channel, "ModelInfer", await zeros(channel, model, 4))
    assert response.id == "0"
    sizes = {tensor.name: list(tensor.shape) for tensor in response.outputs}
    assert sizes == {name: [4, width] for name, width in OUTPUTS.items()}
    assert sum(map(len, response.raw_output_contents)) == 4 * 4 * sum(OUTPUTS.values())
    # The supervisor asks as well, now and then; an ensemble's statistics follow a moment after its answer.
    async with asyncio.timeout(30):
        while await counted(channel, model) - count_of(before, model) < 4:
            await asyncio.sleep(0.05)


def count_of(statistics: kserve.ModelStatisticsResponse, model: str) -> int:
    return next(one.inference_count for one in statistics.model_stats if one.name == model)


async def counted(channel: grpc.aio.Channel, model: str) -> int:
    return count_of(await ask(channel, "ModelStatistics", kserve.ModelStatisticsRequest()), model)


@pytest.mark.parametrize("model", ["moodstream", "window"])
async def test_classification_gives_the_labels(channel: grpc.aio.Channel, model: str) -> None:
    request = await zeros(channel, model, 1)
    for name in ("POLARITY", "EMOTION"):
        request.outputs.add(name=name).parameters["classification"].int64_param = OUTPUTS[name]
    response = await ask(channel, "ModelInfer", request)
    labels = {}
    for tensor, content in zip(response.outputs, response.raw_output_contents, strict=True):
        assert tensor.datatype == "BYTES"
        rows, position = [], 0
        while position < len(content):
            size = int.from_bytes(content[position : position + 4], "little")
            rows.append(content[position + 4 : position + 4 + size].decode())
            position += 4 + size
        labels[tensor.name] = {row.split(":")[2] for row in rows}
    assert labels["POLARITY"] == {"negative", "neutral", "positive"}
    assert labels["EMOTION"] == {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer"])
async def test_unknown_models_are_not_found(channel: grpc.aio.Channel, method: str) -> None:
    name = "model_name" if method == "ModelInfer" else "name"
    request = getattr(kserve, f"{method}Request")(**{name: "another"})
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask(channel, method, request)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    ready = await ask(channel, "ModelReady", kserve.ModelReadyRequest(name="another"))
    assert not ready.ready
