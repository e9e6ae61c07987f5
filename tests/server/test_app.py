import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from moodstream.v1 import media_pb2, result_pb2, service_pb2, service_pb2_grpc, session_pb2

from server.app import PortError, running_server
from server.settings import ServerSettings, SessionLimits

ROOT = Path(__file__).parents[2]
AUDIO = session_pb2.SessionConfig(
    audio=media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=16_000)
)
Request = session_pb2.StreamSentimentRequest


@pytest.fixture
def settings(repository) -> ServerSettings:
    return ServerSettings(repository=repository, engine="onnxruntime", port=0)


def start_server(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "server", "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


async def test_the_server_describes_itself(settings):
    async with running_server(settings) as running, grpc.aio.insecure_channel(running.address) as channel:
        info = await service_pb2_grpc.SentimentServiceStub(channel).GetServerInfo(service_pb2.GetServerInfoRequest())
    assert list(info.emotions) == result_pb2.Emotion.values()[1:]
    assert info.engine == session_pb2.ENGINE_ONNXRUNTIME
    assert info.engine_reason == "the in-process engine was asked for"
    by_name = {model.name: model for model in info.models}
    assert list(by_name["fusion"].providers) == ["CPUExecutionProvider"]
    assert info.limits.max_audio_message_bytes == 2**20


async def test_reflection_lists_the_services(settings):
    async with running_server(settings) as running:

        def services() -> list[str]:
            with grpc.insecure_channel(running.address) as channel:
                return list(ProtoReflectionDescriptorDatabase(channel).get_services())

        names = await asyncio.to_thread(services)
    assert {"moodstream.v1.SentimentService", "inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(names)


async def test_a_port_in_use_is_an_error_with_a_sentence(settings):
    async with running_server(settings) as running:
        port = int(running.address.rsplit(":", 1)[1])
        with pytest.raises(PortError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with running_server(settings.model_copy(update={"port": port})):
                pass


async def test_one_session_too_many_is_told_so(settings):
    async with (
        running_server(settings.model_copy(update={"limits": SessionLimits(max_sessions=1)})) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        stub = service_pb2_grpc.SentimentServiceStub(channel)
        first = stub.StreamSentiment()
        await first.write(Request(config=AUDIO))
        assert (await first.read()).HasField("started")
        second = stub.StreamSentiment()
        await second.write(Request(config=AUDIO))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await second.read()
        first.cancel()
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1 sessions, which is its limit" in error.value.details()


async def test_an_idle_session_is_closed_with_its_totals(settings):
    limits = SessionLimits(idle_timeout_s=0.2)
    async with (
        running_server(settings.model_copy(update={"limits": limits})) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        call = service_pb2_grpc.SentimentServiceStub(channel).StreamSentiment()
        await call.write(Request(config=AUDIO))
        await call.write(Request(audio=media_pb2.AudioChunk(data=bytes(16_000))))
        responses = []
        while (response := await call.read()) is not grpc.aio.EOF:
            responses.append(response)
    assert responses[-1].closed.reason == session_pb2.CLOSE_REASON_IDLE_TIMEOUT
    assert responses[-1].closed.totals[0].used == 1
    assert [response.result.index for response in responses if response.HasField("result")] == [0]


async def test_a_stopping_server_finishes_its_sessions(settings):
    async with running_server(settings) as running:
        channel = grpc.aio.insecure_channel(running.address)
        call = service_pb2_grpc.SentimentServiceStub(channel).StreamSentiment()
        await call.write(Request(config=AUDIO))
        await call.write(Request(audio=media_pb2.AudioChunk(data=bytes(24_000))))
        assert (await call.read()).HasField("started")
        assert (await call.read()).result.index == 0
    kinds = []
    while (response := await call.read()) is not grpc.aio.EOF:
        kinds.append(response)
    await channel.close()
    assert kinds[0].event.type == session_pb2.EVENT_TYPE_DRAINING
    assert kinds[-2].result.end_offset.seconds == 1
    assert kinds[-1].closed.reason == session_pb2.CLOSE_REASON_SERVER_SHUTDOWN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_process_and_all_that_it_started(number):
    process = start_server("--engine", "triton")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert re.fullmatch(r"Moodstream listens on 127\.0\.0\.1:\d+, engine triton\n", line)
    os.killpg(process.pid, number)
    assert process.wait(timeout=20) == 0
    process.communicate()
    left = [name for name in os.listdir("/dev/shm") if name.startswith(f"moodstream-{process.pid}-")]
    assert left == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"moodstream-{process.pid}-" not in running


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--require-gpu"], "a GPU is required, but no CUDA or TensorRT provider was given"),
        (["--engine", "onnxruntime", "--triton-url", "127.0.0.1:1"], "choose one"),
        (["--triton-url", "127.0.0.1:1"], "127.0.0.1:1"),
        (["--repository", "nowhere"], "nowhere"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(arguments, said):
    process = start_server(*arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if line.startswith("moodstream: ")]
    assert len(lines) == 1
    assert said in lines[0]


async def test_a_session_that_lasts_too_long_is_closed_with_its_totals(settings):
    limits = SessionLimits(max_duration_s=0.3)
    async with (
        running_server(settings.model_copy(update={"limits": limits})) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        call = service_pb2_grpc.SentimentServiceStub(channel).StreamSentiment()
        await call.write(Request(config=AUDIO))
        await call.write(Request(audio=media_pb2.AudioChunk(data=bytes(6_400))))
        responses = []
        while (response := await call.read()) is not grpc.aio.EOF:
            responses.append(response)
    assert responses[-1].closed.reason == session_pb2.CLOSE_REASON_MAX_DURATION
    assert responses[-1].closed.totals[0].used == 1
