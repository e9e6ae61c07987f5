import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest

from server.triton import client as triton_client
from server.triton.embedded import EmbeddedTriton
from server.triton.errors import TritonStartError
from server.triton.health import ModelEvent
from tests.server.triton.processes import regions, stub_of, tritons_at, wait_until

pytestmark = pytest.mark.usefixtures("wheel")

X = np.arange(8, dtype=np.float32).reshape(2, 4)


async def double(client: triton_client.InferenceServerClient) -> np.ndarray:
    return (await triton_client.infer(client, "double", {"X": X}, 5.0))["Y"]


async def until_recovered(events: list[ModelEvent], model: str) -> None:
    """Wait for the model to be reported gone and then back."""
    async with asyncio.timeout(20):
        while [event.available for event in events if event.model == model] != [False, True]:
            await asyncio.sleep(0.02)


async def test_serves_from_a_private_socket_and_leaves_nothing(small_repository: Path) -> None:
    async with EmbeddedTriton(small_repository) as triton:
        client = triton_client.connect(triton.grpc_url)
        np.testing.assert_array_equal(await double(client), 2 * X)
        folder = Path(triton.grpc_url.removeprefix("unix:")).parent
        assert folder.stat().st_mode & 0o077 == 0
        assert regions(f"moodstream-{os.getpid()}-")
        assert triton.providers("double") == ("CPUExecutionProvider",)
        assert any("Started GRPCInferenceService" in line for line in triton.log_tail())
        page = await asyncio.to_thread(urllib.request.urlopen, triton.metrics_url)
        with page:
            assert b"nv_inference_request_success" in page.read()
        await client.close()
    assert not folder.exists()


async def test_listens_on_loopback_only(small_repository: Path) -> None:
    async with EmbeddedTriton(small_repository) as triton:
        (server,) = tritons_at(triton.grpc_url)
        listening = [c.laddr.ip for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


async def test_killed_stub_is_replaced(small_repository: Path) -> None:
    events: list[ModelEvent] = []
    async with EmbeddedTriton(small_repository) as triton:
        triton.subscribe(events.append)
        client = triton_client.connect(triton.grpc_url)
        stub_of(os.getpid(), "double").kill()
        await until_recovered(events, "double")
        np.testing.assert_array_equal(await double(client), 2 * X)
        await client.close()
    assert {event.model for event in events} == {"double"}


async def test_killed_server_is_restarted_at_the_same_address(small_repository: Path) -> None:
    events: list[ModelEvent] = []
    async with EmbeddedTriton(small_repository) as triton:
        triton.subscribe(events.append)
        client = triton_client.connect(triton.grpc_url)
        await double(client)
        (server,) = tritons_at(triton.grpc_url)
        server.kill()
        await until_recovered(events, "double")
        np.testing.assert_array_equal(await double(client), 2 * X)
        assert len(tritons_at(triton.grpc_url)) == 1
        await client.close()


async def test_killed_guard_takes_its_server_along_and_is_replaced(small_repository: Path) -> None:
    events: list[ModelEvent] = []
    async with EmbeddedTriton(small_repository) as triton:
        triton.subscribe(events.append)
        client = triton_client.connect(triton.grpc_url)
        (server,) = tritons_at(triton.grpc_url)
        guard = server.parent()
        assert guard is not None
        guard.kill()
        await until_recovered(events, "double")
        assert not server.is_running()
        np.testing.assert_array_equal(await double(client), 2 * X)
        await client.close()


async def test_frozen_stub_is_replaced(small_repository: Path) -> None:
    events: list[ModelEvent] = []
    async with EmbeddedTriton(small_repository) as triton:
        triton.subscribe(events.append)
        client = triton_client.connect(triton.grpc_url)
        stub_of(os.getpid(), "double").suspend()
        await until_recovered(events, "double")
        np.testing.assert_array_equal(await double(client), 2 * X)
        await client.close()


async def test_model_that_stays_broken_leaves_the_others_alone(small_repository: Path) -> None:
    """Even when Triton itself has to be restarted meanwhile; and once repaired it comes back."""
    events: list[ModelEvent] = []
    file = small_repository / "pick" / "1" / "model.onnx"
    content = file.read_bytes()
    async with EmbeddedTriton(small_repository) as triton:
        triton.subscribe(events.append)
        client = triton_client.connect(triton.grpc_url)
        file.write_bytes(b"nonsense")
        stub_of(os.getpid(), "pick").kill()
        async with asyncio.timeout(20):
            while triton.health.available("pick"):
                await asyncio.sleep(0.02)
        np.testing.assert_array_equal(await double(client), 2 * X)
        assert not [event for event in events if event.model == "double"]

        (server,) = tritons_at(triton.grpc_url)
        server.kill()
        await until_recovered(events, "double")
        np.testing.assert_array_equal(await double(client), 2 * X)
        assert not triton.health.available("pick")

        file.write_bytes(content)
        await until_recovered(events, "pick")
        await client.close()


async def test_model_that_fails_every_inference_is_refused(small_repository: Path) -> None:
    config = small_repository / "pick" / "config.pbtxt"
    config.write_text(config.read_text().replace('"VALUE"', '"NO_SUCH_OUTPUT"'))
    with pytest.raises(TritonStartError, match="NO_SUCH_OUTPUT"):
        async with EmbeddedTriton(small_repository):
            pass


async def test_broken_model_is_named(small_repository: Path) -> None:
    (small_repository / "pick" / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(TritonStartError, match="pick"):
        async with EmbeddedTriton(small_repository):
            pass


async def test_cancelled_start_leaves_nothing(small_repository: Path) -> None:
    start = asyncio.create_task(EmbeddedTriton(small_repository).__aenter__())
    await asyncio.sleep(0.3)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start


# A shell ignores SIGINT for what it runs in the background, and children inherit that: the front end must not.
FRONT_END = """
import asyncio, signal, sys
from pathlib import Path
from server.triton.embedded import EmbeddedTriton

signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    async with EmbeddedTriton(Path(sys.argv[1])):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_dying_front_end_leaves_nothing(small_repository: Path, how: signal.Signals, tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", FRONT_END, str(small_repository)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, start_new_session=True
    ) as front_end:
        assert front_end.stdout is not None
        assert front_end.stdout.readline() == b"ready\n"
        family = psutil.Process(front_end.pid).children(recursive=True)
        assert len(family) == 4  # guard, server, two stubs
        # As Ctrl-C in a terminal does: to the whole group.
        os.killpg(front_end.pid, how)
        front_end.wait(15)
    wait_until(lambda: not any(process.is_running() for process in family))
    wait_until(lambda: not regions(f"moodstream-{front_end.pid}-"))
    wait_until(lambda: not list(tmp_path.glob("moodstream-*")))
