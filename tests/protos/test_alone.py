"""The shipped protos are enough for clients of other makes: they compile alone, and Node speaks to the server."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from server.app import running_server
from server.settings import ServerSettings

ROOT = Path(__file__).parents[2]
NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def protos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `.proto` files, and nothing else."""
    folder = tmp_path_factory.mktemp("shipped")
    ignore = shutil.ignore_patterns("*.py", "*.pyi", "__pycache__", "py.typed")
    shutil.copytree(ROOT / "protos" / "moodstream", folder / "moodstream", ignore=ignore)
    return folder


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return done


def test_buf_builds_them(protos: Path, tmp_path: Path):
    run("buf", "build", str(protos), "-o", str(tmp_path / "image.binpb"))
    assert (tmp_path / "image.binpb").stat().st_size > 10_000


def test_python_stubs_from_them_alone(protos: Path, tmp_path: Path):
    sources = [str(path) for path in protos.rglob("*.proto")]
    includes = [f"-I{protos}", f"-I{files('grpc_tools') / '_proto'}"]
    out = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    run(sys.executable, "-m", "grpc_tools.protoc", *includes, *out, *sources)
    script = (
        "import sys; from moodstream.v1 import service_pb2, service_pb2_grpc, session_pb2 as s; "
        "assert 'google.rpc' not in ' '.join(sys.modules); "
        "print(s.SessionConfig(resumable=True).ByteSize(), service_pb2_grpc.SentimentServiceStub.__name__)"
    )
    done = run(sys.executable, "-P", "-c", script, env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert done.stdout == "2 SentimentServiceStub\n"


@pytest.fixture(scope="module")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node client with its packages, installed as its user would; skips where there is no Node or no registry."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node.js")
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(NODE, folder, dirs_exist_ok=True)
    install = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"npm can't install the packages here: {done.stderr[-200:]}")
    return folder


async def test_a_node_client(protos: Path, node_client: Path):
    settings = ServerSettings(repository=ROOT / "model_repository", engine="onnxruntime", port=0)
    async with running_server(settings) as running:
        command = ["node", "client.js", str(protos), running.address]
        done = await asyncio.to_thread(run, *command, cwd=node_client, timeout=60)
    told = json.loads(done.stdout)
    assert told["started"]
    windows = [one for one in told["results"] if one["scope"] == "SCOPE_WINDOW" and one["isFinal"]]
    assert [one["index"] for one in windows] == [0, 1, 2, 3]
    (utterance,) = [one for one in told["results"] if one["scope"] == "SCOPE_UTTERANCE" and one["isFinal"]]
    assert utterance["sentiment"] > 0
    assert utterance["polarities"][0]["polarity"] == "POLARITY_NEGATIVE"
    assert told["closed"]["reason"] == "CLOSE_REASON_CLIENT"
    fates = {one["modality"]: one for one in told["closed"]["totals"]}
    assert (fates["MODALITY_AUDIO"]["used"], fates["MODALITY_AUDIO"]["skipped"]) == (4, 1)
    assert fates["MODALITY_TEXT"]["used"] == 1
