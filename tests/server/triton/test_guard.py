"""The guard takes any command: here shells, whose children stand for the stubs."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from server.triton import guard
from server.triton.shm import SHM
from tests.server.triton.processes import wait_until

PREFIX = "moodstream-test-guard-"


@contextmanager
def guarded(folder: Path, script: str) -> Iterator[tuple[subprocess.Popen, psutil.Process]]:
    """Run the script under a guard with a grace of half a second; yields the guard and the shell that it started."""
    for name in ("region", ".lock"):
        (SHM / f"{PREFIX}{name}").touch()
    command = [sys.executable, "-I", "-S", guard.__file__, str(folder), PREFIX, "0.5", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        children: list[psutil.Process] = []
        wait_until(lambda: bool(children) or bool(children.extend(psutil.Process(process.pid).children())))
        yield process, children[0]
        process.kill()
    for path in SHM.glob(f"{PREFIX}*"):
        path.unlink()


def left_in_shm() -> set[str]:
    return {path.name.removeprefix(PREFIX) for path in SHM.glob(f"{PREFIX}*")}


def child_of(shell: psutil.Process) -> psutil.Process:
    wait_until(lambda: bool(shell.children()))
    return shell.children()[0]


def test_end_of_input_stops_in_order(tmp_path: Path) -> None:
    with guarded(tmp_path / "own", f"trap 'touch {tmp_path}/drained; exit 3' TERM; sleep 60 & wait") as (
        process,
        shell,
    ):
        (tmp_path / "own").mkdir()
        stub = child_of(shell)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(5) == 3
        assert not stub.is_running()
        assert (tmp_path / "drained").exists()
        assert not (tmp_path / "own").exists()
        assert not left_in_shm()


def test_what_does_not_stop_is_killed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with guarded(tmp_path, "trap '' TERM; sleep 60; sleep 60") as (process, shell):
        child_of(shell)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(5) == 128 + signal.SIGKILL
        assert not shell.is_running()
    assert "did not stop within 0.5 s" in capfd.readouterr().err


def test_sigterm_kills_and_keeps_what_a_restart_needs(tmp_path: Path) -> None:
    with guarded(tmp_path, f"trap 'touch {tmp_path}/drained' TERM; sleep 60; sleep 60") as (process, shell):
        stub = child_of(shell)
        process.terminate()
        assert process.wait(5) == 128 + signal.SIGKILL
        assert not stub.is_running()
        assert not (tmp_path / "drained").exists()
        assert tmp_path.exists()
        assert left_in_shm() == {".lock"}


def test_an_end_of_its_own_takes_the_stubs_along(tmp_path: Path) -> None:
    with guarded(tmp_path, "sleep 60 & read _ < /dev/stdin; sleep 0.5; exit 7") as (process, shell):
        stub = child_of(shell)
        assert process.wait(5) == 7
        assert not stub.is_running()
        assert left_in_shm() == {".lock"}


def test_a_killed_guard_takes_the_command_along(tmp_path: Path) -> None:
    with guarded(tmp_path, "exec sleep 60") as (process, shell):
        process.kill()
        wait_until(lambda: not shell.is_running())
