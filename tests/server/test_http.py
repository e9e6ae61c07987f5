"""What orchestrators and Prometheus are told, and that it is true when Triton dies."""

import hashlib
from collections.abc import AsyncIterator

import httpx2 as httpx
import pytest

from server.app import Running, running_server
from server.settings import ServerSettings


@pytest.fixture(scope="module")
async def running(repository, tmp_path_factory) -> AsyncIterator[Running]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    people = {"ann": "admin", "bob": "stream"}
    keys.write_text("".join(f"{n} {r} {hashlib.sha256(n.encode()).hexdigest()}\n" for n, r in people.items()))
    settings = ServerSettings(repository=repository, engine="onnxruntime", port=0, http_port=0, keys_file=keys)
    async with running_server(settings) as running:
        yield running


async def get(running: Running, path: str, token: str = "") -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://{running.http_address}{path}", headers=headers)


async def test_health_is_open(running: Running):
    assert (await get(running, "/healthz")).status_code == 200
    assert (await get(running, "/readyz")).status_code == 200


@pytest.mark.parametrize(("token", "status"), [("", 401), ("eve", 401), ("bob", 403), ("ann", 200)])
async def test_metrics_are_for_admins(running: Running, token: str, status: int):
    assert (await get(running, "/metrics", token)).status_code == status


async def test_metrics_name_sessions_models_and_the_loop(running: Running):
    text = (await get(running, "/metrics", "ann")).text
    for name in ("moodstream_sessions 0.0", 'moodstream_model_available{model="fusion"} 1.0', "event_loop_lag"):
        assert name in text
