import psutil
import pytest
from moodstream.v1.session_pb2 import ENGINE_ONNXRUNTIME

from client import MoodstreamClient, MoodstreamError
from client.local_server import local_server


async def test_a_server_runs_for_the_length_of_the_block():
    others = psutil.Process().children()  # Of earlier tests in this process.
    async with local_server(["--engine", "onnxruntime"]) as server:
        children = set(psutil.Process().children()) - set(others)
        async with MoodstreamClient(server.target) as client:
            assert (await client.info()).engine == ENGINE_ONNXRUNTIME
    assert server.process.returncode == 0
    assert not [child for child in children if child.is_running()]


async def test_a_server_that_cannot_start_is_an_error_with_its_own_words():
    with pytest.raises(MoodstreamError, match="choose one"):
        async with local_server(["--engine", "onnxruntime", "--triton-url", "127.0.0.1:1"]):
            pass


async def test_wrong_usage_is_told():
    with pytest.raises(MoodstreamError, match=r"^UNAVAILABLE: moodstream: engine: "):
        async with local_server(["--engine", "steam"]):
            pass
