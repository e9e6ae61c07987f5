import socket
import sys
from pathlib import Path

import pytest

from server.triton.launch import command, environment, free_port
from server.triton.layout import Layout
from server.triton.wheel import TritonWheel

LAYOUT = Layout(Path("/private"))


def test_nothing_but_loopback_and_the_private_socket(wheel: TritonWheel, tmp_path: Path) -> None:
    line = command(wheel, LAYOUT, tmp_path, "me", "prefix-", 1234)
    addresses = {option for option in line if "address" in option or "http" in option}
    assert addresses == {"--grpc-address=unix:/private/grpc", "--allow-http=false", "--metrics-address=127.0.0.1"}


def test_the_repository_may_be_named_relatively(
    wheel: TritonWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"--model-repository={tmp_path.resolve() / 'models'}" in command(wheel, LAYOUT, Path("models"), "", "", 1)


def test_this_python_comes_first(wheel: TritonWheel) -> None:
    base = {"PATH": "/bin", "LD_LIBRARY_PATH": "/cuda/lib", "PYTHONHOME": "/other", "CUDA_VISIBLE_DEVICES": "1"}
    env = environment(wheel, LAYOUT, base)
    assert env["PATH"] == f"{Path(sys.executable).parent}:/bin"
    assert env["LD_LIBRARY_PATH"] == f"{wheel.python_libraries}:{wheel.libraries}:/cuda/lib"
    assert "PYTHONHOME" not in env
    assert env["CUDA_VISIBLE_DEVICES"] == "1"


def test_free_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
