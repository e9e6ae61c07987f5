"""The command line and the environment with which Triton is started."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from server.triton.layout import Layout
from server.triton.wheel import TritonWheel

_GRPC_PORT: Final = 1
"""Triton appends `:port` to every address; for a unix socket it becomes part of the file name."""
_EXIT_TIMEOUT_S: Final = 3
"""For requests in flight and the unloading of models. A model whose stub died once uses all of it up."""


def grpc_url(layout: Layout) -> str:
    """Return the address of the gRPC service, for any gRPC client on this machine.

    It is a unix socket in the private folder: other users can't reach it (the service can load models, which is running
    code), no other program can take the port before a restart, and the address stays the same across restarts.
    """
    return f"unix:{layout.socket}:{_GRPC_PORT}"


def command(
    wheel: TritonWheel, layout: Layout, repository: Path, server_id: str, shm_prefix: str, metrics_port: int
) -> list[str]:
    """Return Triton's command line: all models of the repository are loaded, but those that can't be."""
    return [
        str(wheel.binary),
        f"--id={server_id}",
        f"--model-repository={repository.resolve()}",
        f"--backend-directory={layout.backends}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--exit-on-error=false",
        # Configs are complete, and completing them would start every stub twice.
        "--disable-auto-complete-config",
        "--model-load-thread-count=8",
        f"--grpc-address=unix:{layout.socket}",
        f"--grpc-port={_GRPC_PORT}",
        "--allow-http=false",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={metrics_port}",
        "--allow-gpu-metrics=false",
        f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
    ]


def environment(wheel: TritonWheel, layout: Layout, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for Triton, derived from `base` (by default that of this process)."""
    env = dict(os.environ if base is None else base)
    # The stub takes the Python that comes first on PATH for its own, and with it the virtual environment.
    env["PATH"] = _joined(Path(sys.executable).parent, env.get("PATH"))
    # The running Python's libpython must come before the one that the wheel brings.
    env["LD_LIBRARY_PATH"] = _joined(wheel.python_libraries, wheel.libraries, env.get("LD_LIBRARY_PATH"))
    env["MOODSTREAM_SESSION_NOTES"] = str(layout.sessions)
    env.pop("PYTHONHOME", None)
    return env


def free_port() -> int:
    """Return a loopback TCP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _joined(*paths: Path | str | None) -> str:
    return os.pathsep.join(str(path) for path in paths if path)
