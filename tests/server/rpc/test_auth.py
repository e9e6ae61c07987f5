import hashlib

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from moodstream.v1 import service_pb2, session_pb2
from tritonclient.grpc import service_pb2 as kserve_pb2
from tritonclient.grpc import service_pb2_grpc as kserve_grpc

from server.app import running_server
from server.settings import IdentityLimits

TOKEN = "a secret of the test"
RIGHT = (("authorization", f"Bearer {TOKEN}"),)


@pytest.fixture(scope="module")
async def guarded(settings_for, tmp_path_factory):
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(f"{TOKEN}\n")
    async with running_server(settings_for("onnxruntime", token_file=file)) as running:
        yield running


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", TOKEN),)])
async def test_calls_without_the_token_are_refused(guarded, call, metadata):
    caller = call(guarded)
    calls = [
        caller.stub.GetServerInfo(service_pb2.GetServerInfoRequest(), metadata=metadata),
        kserve_grpc.GRPCInferenceServiceStub(caller.channel).ServerLive(
            kserve_pb2.ServerLiveRequest(), metadata=metadata
        ),
    ]
    for one in calls:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await one
        assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
    stream = caller.stub.StreamSentiment(metadata=metadata)
    assert await stream.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_calls_with_the_token_and_health_checks_pass(guarded, call):
    caller = call(guarded)
    info = await caller.stub.GetServerInfo(service_pb2.GetServerInfoRequest(), metadata=RIGHT)
    assert info.engine == session_pb2.ENGINE_ONNXRUNTIME
    checked = await health_pb2_grpc.HealthStub(caller.channel).Check(
        health_pb2.HealthCheckRequest(service="moodstream.v1.SentimentService")
    )
    assert checked.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_role_opens_its_calls_only(settings_for, call, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"ann stream {hashlib.sha256(b'ann').hexdigest()}\n")
    ann = (("authorization", "Bearer ann"),)
    async with running_server(settings_for("onnxruntime", keys_file=file)) as running:
        caller = call(running)
        info = await caller.stub.GetServerInfo(service_pb2.GetServerInfoRequest(), metadata=ann)
        assert info.version
        for code in (
            await caller.stub.AnalyzeClip(metadata=ann).code(),
            await kserve_grpc.GRPCInferenceServiceStub(caller.channel)
            .ServerLive(kserve_pb2.ServerLiveRequest(), metadata=ann)
            .code(),
        ):
            assert code is grpc.StatusCode.PERMISSION_DENIED
        live = caller.stub.StreamSentiment(metadata=ann)
        await live.done_writing()
        assert await live.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_reflection_can_be_off(settings_for, call):
    async with running_server(settings_for("onnxruntime", reflection=False)) as running:
        asked = call(running).channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        assert await asked(iter([])).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_limits_of_an_identity_hold_for_its_calls_alone(settings_for, call, tmp_path):
    file = tmp_path / "keys"
    file.write_text("".join(f"{n} stream {hashlib.sha256(n.encode()).hexdigest()}\n" for n in ("ann", "bob")))
    settings = settings_for("onnxruntime", keys_file=file, identity=IdentityLimits(max_sessions=1))
    async with running_server(settings) as running:
        stub = call(running).stub
        silent = stub.StreamSentiment(metadata=(("authorization", "Bearer ann"),))
        await silent.wait_for_connection()
        second = stub.StreamSentiment(metadata=(("authorization", "Bearer ann"),))
        assert await second.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        other = stub.StreamSentiment(metadata=(("authorization", "Bearer bob"),))
        await other.done_writing()
        assert await other.code() is grpc.StatusCode.INVALID_ARGUMENT
        silent.cancel()
