"""Two processes that share every batch end where one ends, up to the order of sums."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]
TABLE: dict[str, Any] = {
    "task": "toy",
    "student": "steady",  # Without dropout, whose draws belong to a process.
    "teachers": ["good", "fair"],
    "methods": ["kd", {"name": "fitnet", "weight": 1.0}],
    "weigher": "confidence",
    "budget": {"steps": 24, "batch": 32, "evaluations": 3, "learning_rate": 5e-3},
}


TALK: dict[str, Any] = {
    **TABLE,
    "task": "talk",
    "student": "default",
    "budget": {**TABLE["budget"], "batch": 8},
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def run(processes: int, recipe: Path, folder: Path) -> "list[subprocess.Popen[bytes]]":
    port = str(free_port())
    started = []
    for rank in range(processes):
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "TOY_QUIET_AUGMENT": "1"}
        if processes > 1:
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(processes)}
        command = [sys.executable, "-m", "tests.training.engine.run_toy", str(recipe), str(folder)]
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL))
    return started


@pytest.mark.parametrize("table", [TABLE, TALK], ids=["samples", "conversations"])
def test_two_processes_are_as_one(table: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(table))
    started = run(1, recipe, tmp_path / "one") + run(2, recipe, tmp_path / "two")
    assert [process.wait(timeout=240) for process in started] == [0, 0, 0]

    one, two = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("one", "two"))
    assert len(two["random"]) == 2
    for name, tensor in one["run"]["distiller"].items():
        torch.testing.assert_close(two["run"]["distiller"][name], tensor, rtol=1e-4, atol=1e-5)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
    assert results[0]["metrics"]["test"]["accuracy"] == results[1]["metrics"]["test"]["accuracy"]
    assert "2 x 1 threads" in results[1]["machine"]
