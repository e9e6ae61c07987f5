"""Looks at processes and shared memory from outside, as an operator would."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def descendants(pid: int, name: str) -> list[psutil.Process]:
    """Return the living processes below `pid` whose executable is called `name`."""
    return [child for child in psutil.Process(pid).children(recursive=True) if _executable(child) == name]


def tritons_at(url: str) -> list[psutil.Process]:
    """Return the tritonservers below this process that serve the address: other tests' may run beside them."""
    address = url.rpartition(":")[0]
    return [one for one in descendants(os.getpid(), "tritonserver") if f"--grpc-address={address}" in one.cmdline()]


def stub_of(pid: int, model: str) -> psutil.Process:
    """Return the stub below `pid` that serves the model: its first argument is the model's file."""
    stubs = descendants(pid, "triton_python_backend_stub")
    return next(stub for stub in stubs if f"/{model}/" in stub.cmdline()[1])


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Wait until the condition holds; for tests without an event loop."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "still waiting"
        time.sleep(0.02)


def regions(prefix: str) -> list[str]:
    """Return the files in /dev/shm that begin with `prefix`."""
    return [path.name for path in Path("/dev/shm").glob(f"{prefix}*")]


def _executable(process: psutil.Process) -> str:
    try:
        return Path(process.cmdline()[0]).name
    except (psutil.Error, IndexError):
        return ""
