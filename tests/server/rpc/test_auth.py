import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from moodstream.v1 import service_pb2, session_pb2
from tritonclient.grpc import service_pb2 as kserve_pb2
from tritonclient.grpc import service_pb2_grpc as kserve_grpc

from server.app import running_server

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
