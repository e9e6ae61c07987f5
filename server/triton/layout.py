"""Lays out the private folder of one embedded Triton: backends, socket, and what the models report about themselves.

The backend folder holds real copies: Triton does not follow links there, and the stub must be executable.
"""

import importlib.resources
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.triton import ort_session
from server.triton.wheel import TritonWheel

_SOCKET_PATH_LIMIT: Final = 100
"""A unix socket's path must fit into 108 bytes with the `:1` that Triton appends."""


@dataclass(frozen=True)
class Layout:
    """The private folder, readable by this user only."""

    root: Path

    @property
    def backends(self) -> Path:
        """Folder for `--backend-directory`."""
        return self.root / "backends"

    @property
    def socket(self) -> Path:
        """Path of the unix socket, without the port that Triton appends."""
        return self.root / "grpc"

    @property
    def sessions(self) -> Path:
        """Folder in which each model instance leaves a file that says which providers its session really got."""
        return self.root / "sessions"


def lay_out(wheel: TritonWheel) -> Layout:
    """Make the folder and copy the two backends into it; the caller removes `root` in the end."""
    layout = Layout(_private_folder())
    layout.sessions.mkdir()
    python = layout.backends / "python"
    python.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copyfile(wheel.python_backend / name, python / name)
    stub = python / wheel.stub.name
    shutil.copyfile(wheel.stub, stub)
    stub.chmod(0o700)

    onnxruntime = layout.backends / "onnxruntime"
    onnxruntime.mkdir()
    model = importlib.resources.files("server.triton") / "backend" / "onnxruntime" / "model.py"
    (onnxruntime / "model.py").write_text(model.read_text(encoding="utf-8"), encoding="utf-8")
    # The stub puts the backend's folder on its path, so the module is importable there too.
    shutil.copyfile(ort_session.__file__, onnxruntime / "ort_session.py")
    return layout


def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="moodstream-"))
    if len(str(folder)) <= _SOCKET_PATH_LIMIT - len("/grpc"):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="moodstream-", dir="/tmp"))
