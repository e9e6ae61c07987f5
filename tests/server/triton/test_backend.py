"""The Python-based backend named `onnxruntime`, inside a real Triton."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from server.triton import client as triton_client
from server.triton.embedded import EmbeddedTriton
from server.triton.errors import TritonStartError

pytestmark = pytest.mark.usefixtures("wheel")


async def pick(client: triton_client.InferenceServerClient, *indices: int) -> list[float]:
    inputs = {"INDEX": np.array([indices], dtype=np.int64).T}
    return (await triton_client.infer(client, "pick", inputs, 5.0))["VALUE"][:, 0].tolist()


async def test_requests_share_a_run_and_not_their_errors(small_repository: Path) -> None:
    async with EmbeddedTriton(small_repository) as triton:
        client = triton_client.connect(triton.grpc_url)
        before = await executions(client)
        assert await asyncio.gather(pick(client, 2), pick(client, 0, 1), pick(client, 1)) == [[20], [0, 10], [10]]
        assert await executions(client) - before < 3  # the dynamic batcher merged them

        results = await asyncio.gather(pick(client, 1), pick(client, 7), pick(client, 2), return_exceptions=True)
        assert results[0] == [10]
        assert results[2] == [20]
        assert isinstance(results[1], InferenceServerException)
        assert results[1].status() == "StatusCode.INTERNAL"
        assert "7" in results[1].message()
        await client.close()


async def executions(client: triton_client.InferenceServerClient) -> int:
    statistics = await client.get_inference_statistics("pick")
    return int(statistics.model_stats[0].execution_count)


async def test_threads_are_those_of_the_config(small_repository: Path) -> None:
    config = small_repository / "double" / "config.pbtxt"
    config.write_text(
        config.read_text() + 'parameters { key: "intra_op_thread_count" value: { string_value: "no number" } }\n'
    )
    with pytest.raises(TritonStartError, match="no number"):
        async with EmbeddedTriton(small_repository):
            pass
