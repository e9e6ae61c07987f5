import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferInput, InferRequestedOutput, service_pb2, service_pb2_grpc
from tritonclient.grpc.aio import InferenceServerClient

from contract.labels import EMOTIONS
from contract.models import MODELS
from server.inference.engine import Engine
from server.inference.onnx_engine import OnnxEngine
from server.inference.triton_engine import TritonEngine
from server.rpc.kserve import kserve_handler

METHODS = [method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods]
OPEN = {
    "ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics",
    "ModelInfer", "ModelStreamInfer", "RepositoryIndex",
}  # fmt: skip
FACE = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@asynccontextmanager
async def front(engine: Engine) -> AsyncIterator[str]:
    """A port of ours with nothing but the KServe handler on it."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((kserve_handler(engine),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@asynccontextmanager
async def stub_of(engine: Engine) -> AsyncIterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    async with front(engine) as address, grpc.aio.insecure_channel(address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def face_request(face: np.ndarray = FACE) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="video_encoder", id="7", raw_input_contents=[face.tobytes()])
    request.inputs.add(name="FACE", datatype="UINT8", shape=face.shape)
    return request


async def test_a_triton_client_works_unchanged(triton_engine: TritonEngine) -> None:
    direct = await triton_engine.infer("video_encoder", {"FACE": FACE}, 5.0)
    async with front(triton_engine) as address, InferenceServerClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("video_encoder")
        assert not await client.is_model_ready("other")
        metadata = await client.get_server_metadata()
        assert metadata.name == "moodstream"
        assert not [name for name in metadata.extensions if "shared_memory" in name or "repository" in name]
        assert (await client.get_model_metadata("fusion")).outputs[0].name == "SENTIMENT"
        assert (await client.get_model_config("window")).config.max_batch_size == 16
        assert (await client.get_inference_statistics("video_encoder")).model_stats[0].inference_count > 0
        assert {one.name for one in (await client.get_inference_statistics()).model_stats} == set(MODELS)
        assert {one.name for one in (await client.get_model_repository_index()).models} == set(MODELS)
        face = InferInput("FACE", FACE.shape, "UINT8")
        face.set_data_from_numpy(FACE)
        asked = [InferRequestedOutput("EMBEDDING"), InferRequestedOutput("EMOTION", class_count=1)]
        result = await client.infer("video_encoder", [face], outputs=asked)
        np.testing.assert_array_equal(result.as_numpy("EMBEDDING"), direct["EMBEDDING"])
        labels = [row[0].decode().rsplit(":", 1)[1] for row in result.as_numpy("EMOTION")]
        assert labels == [EMOTIONS[index] for index in direct["EMOTION"].argmax(axis=1)]


async def test_the_ensemble_is_its_parts(triton_engine: TritonEngine) -> None:
    random = np.random.default_rng(2)
    tensors = {
        tensor.name: random.standard_normal((2, *tensor.shape)).astype(np.float32) * 0.1
        if tensor.dtype == "FP32"
        else random.integers(0, 256, (2, *tensor.shape), dtype=np.uint8)
        for tensor in MODELS["moodstream"].inputs
        if tensor.dtype != "BYTES"
    }
    tensors |= {name: np.ones_like(tensors[name]) for name in ("AUDIO_MASK", "VIDEO_MASK")}
    text = {"TEXT": np.array([[b"what a wonderful day"], [b""]], dtype=np.object_)}
    tokens = await triton_engine.infer("tokenizer", text, 5.0)
    parts = await triton_engine.infer("window", tensors | tokens, 10.0)
    whole = await triton_engine.infer("moodstream", tensors | text, 10.0)
    for name in parts:
        np.testing.assert_allclose(whole[name], parts[name], atol=1e-6)


async def test_streams_pass(triton_engine: TritonEngine) -> None:
    async with stub_of(triton_engine) as stub:
        call = stub.ModelStreamInfer()
        for _ in range(3):
            await call.write(face_request())
        await call.done_writing()
        replies = [reply async for reply in call]
    assert [reply.infer_response.id for reply in replies] == ["7"] * 3
    assert not any(reply.error_message for reply in replies)


@pytest.mark.parametrize("method", [*sorted(set(METHODS) - OPEN), "NoSuchMethod"])
async def test_everything_else_is_refused(triton_engine: TritonEngine, method: str) -> None:
    async with front(triton_engine) as address, grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        with pytest.raises(grpc.aio.AioRpcError, match=f"{method} is not open on this port") as error:
            await call(b"")
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ModelMetadata", service_pb2.ModelMetadataRequest(name="other")),
        ("ModelConfig", service_pb2.ModelConfigRequest(name="other")),
        ("ModelStatistics", service_pb2.ModelStatisticsRequest(name="other")),
        ("ModelInfer", service_pb2.ModelInferRequest(model_name="other")),
    ],
)
async def test_only_models_of_the_contract(triton_engine: TritonEngine, method: str, message: object) -> None:
    async with stub_of(triton_engine) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="audio_encoder, video_encoder") as error:
            await getattr(stub, method)(message)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_shared_memory_is_refused(triton_engine: TritonEngine, side: str, streaming: bool) -> None:
    request = face_request()
    if side == "outputs":
        request.outputs.add(name="EMBEDDING")
    getattr(request, side)[0].parameters["shared_memory_region"].string_param = "region"
    async with stub_of(triton_engine) as stub:
        answer = stub.ModelStreamInfer(iter([request])).read() if streaming else stub.ModelInfer(request)
        with pytest.raises(grpc.aio.AioRpcError, match="shared memory") as error:
            await answer
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_refusal_in_a_stream_lets_earlier_requests_finish(triton_engine: TritonEngine) -> None:
    requests = [face_request(), service_pb2.ModelInferRequest(model_name="other"), face_request()]
    async with stub_of(triton_engine) as stub:
        call = stub.ModelStreamInfer(iter(requests))
        assert (await call.read()).infer_response.id == "7"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.read()
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_status_and_details_are_those_of_triton(triton_engine: TritonEngine) -> None:
    ids = np.full((1, 64), 1_000_000, np.int64).tobytes()  # beyond the vocabulary, which Triton alone knows
    request = service_pb2.ModelInferRequest(model_name="text_encoder", raw_input_contents=[ids, ids])
    for name in ("INPUT_IDS", "ATTENTION_MASK"):
        request.inputs.add(name=name, datatype="INT64", shape=[1, 64])
    direct = service_pb2_grpc.GRPCInferenceServiceStub(triton_engine.channel)
    with pytest.raises(grpc.aio.AioRpcError) as expected:
        await direct.ModelInfer(request)
    async with stub_of(triton_engine) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ModelInfer(request)
    assert error.value.code() is expected.value.code() is grpc.StatusCode.INTERNAL
    assert error.value.details() == expected.value.details()


async def test_nothing_that_kserve_does_not_define_reaches_triton() -> None:
    async with slow_triton() as (slow, stub), asyncio.timeout(10):
        extended = face_request().SerializeToString() + b"\xa2\x06\x05evil!"  # field 100
        call = stub.ModelInfer(service_pb2.ModelInferRequest.FromString(extended))
        await slow.called.wait()
        call.cancel()
    assert slow.requests == [face_request()]
    assert slow.requests[0].SerializeToString() == face_request().SerializeToString()


async def test_what_is_no_request_is_refused(triton_engine: TritonEngine) -> None:
    async with front(triton_engine) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="not a valid inference") as error:
            await channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff\xff\xff")
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", METHODS)
async def test_the_in_process_engine_implements_none(onnx_engine: OnnxEngine, method: str) -> None:
    async with front(onnx_engine) as address, grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(f"/inference.GRPCInferenceService/{method}")()
        with pytest.raises(grpc.aio.AioRpcError, match="KServe v2 needs Triton") as error:
            await call.read()
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


@dataclass
class SlowTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Plays a Triton that answers no inference, and remembers what became of the calls."""

    called: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    seconds_left: list[float | None] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    requests: list[object] = field(default_factory=list)

    async def ModelInfer(self, request: object, context: grpc.aio.ServicerContext) -> None:  # noqa: N802
        self.seconds_left.append(context.time_remaining())
        self.metadata = dict(context.invocation_metadata())
        self.requests.append(request)
        await self._hang()

    async def ModelStreamInfer(self, requests: object, context: grpc.aio.ServicerContext) -> None:  # noqa: N802
        self.seconds_left.append(context.time_remaining())
        await self._hang()

    async def _hang(self) -> None:
        self.called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@asynccontextmanager
async def slow_triton() -> AsyncIterator[tuple[SlowTriton, service_pb2_grpc.GRPCInferenceServiceStub]]:
    slow = SlowTriton()
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(slow, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    engine = TritonEngine(f"127.0.0.1:{port}")
    async with stub_of(engine) as stub:
        yield slow, stub
    await engine.close()
    await server.stop(0)


async def test_deadlines_are_passed_on() -> None:
    async with slow_triton() as (slow, stub):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ModelInfer(face_request(), timeout=0.3)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0 < slow.seconds_left[0] <= 0.3


async def test_cancellation_is_passed_on() -> None:
    async with slow_triton() as (slow, stub), asyncio.timeout(10):
        call = stub.ModelInfer(face_request())
        await slow.called.wait()
        call.cancel()
        await slow.cancelled.wait()


async def test_cancellation_of_a_stream_is_passed_on() -> None:
    async with slow_triton() as (slow, stub), asyncio.timeout(10):
        call = stub.ModelStreamInfer()
        await call.write(face_request())
        await slow.called.wait()
        call.cancel()
        await slow.cancelled.wait()


async def test_credentials_are_not_passed_on_but_traces_are() -> None:
    async with slow_triton() as (slow, stub), asyncio.timeout(10):
        metadata = (("authorization", "Bearer secret"), ("traceparent", "00-a-b-01"))
        call = stub.ModelInfer(face_request(), metadata=metadata)
        await slow.called.wait()
        call.cancel()
    assert "authorization" not in slow.metadata
    assert slow.metadata["traceparent"] == "00-a-b-01"


async def test_an_unreachable_triton_is_unavailable_and_keeps_its_address() -> None:
    engine = TritonEngine("unix:/nowhere/grpc:1")
    async with stub_of(engine) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ModelInfer(face_request())
    await engine.close()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "nowhere" not in (error.value.details() or "")
