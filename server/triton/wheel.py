"""Finds the Triton binary of the nvidia-pytriton wheel and says why it can't run where it can't.

Nothing of the wheel's Python code is imported: only its files are used.
"""

import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.triton.errors import TritonUnavailableError

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (where Triton keeps its regions)


@dataclass(frozen=True)
class TritonWheel:
    """Where the parts of the wheel lie."""

    binary: Path
    python_backend: Path
    """Folder with `libtriton_python.so` and `triton_python_backend_utils.py`."""
    stub: Path
    """The Python backend's stub, built for the running Python version."""
    libraries: Path
    """Shared libraries that the wheel brings for the binary."""
    python_libraries: Path
    """Folder with the running Python's shared libpython, which the stub must load before any other."""


def find_wheel() -> TritonWheel:
    """Return the files of the installed wheel.

    Raises:
        TritonUnavailableError: the embedded Triton can't run here; the message says why.
    """
    _check_platform()
    _check_numpy()
    root = _package_folder()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "tritonserver" / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonUnavailableError(f"nvidia-pytriton has no Python backend stub for Python {version}")
    wheel = TritonWheel(
        binary=root / "tritonserver" / "bin" / "tritonserver",
        python_backend=root / "tritonserver" / "backends" / "python",
        stub=stub,
        libraries=root.parent / "nvidia_pytriton.libs",
        python_libraries=_libpython_folder(version),
    )
    for path in (wheel.binary, wheel.python_backend / "libtriton_python.so", wheel.libraries):
        if not path.exists():
            raise TritonUnavailableError(f"nvidia-pytriton is incomplete: {path.name} is missing")
    return wheel


def _check_platform() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise TritonUnavailableError(
            f"the embedded Triton runs on linux x86_64 only, this is {sys.platform} {platform.machine()}"
        )
    if not _SHARED_MEMORY.is_dir():
        raise TritonUnavailableError(f"the Python backend needs {_SHARED_MEMORY}, which does not exist here")


def _check_numpy() -> None:
    """Under numpy 2 the stub answers every call with the right shape and 0 bytes of data."""
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        raise TritonUnavailableError("numpy is not installed") from None
    if int(version.partition(".")[0]) >= 2:
        raise TritonUnavailableError(f"the Python backend's stub was built for numpy 1, numpy {version} is installed")


def _package_folder() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise TritonUnavailableError("the package nvidia-pytriton is not installed")
    return Path(spec.submodule_search_locations[0])


def _libpython_folder(version: str) -> Path:
    library = f"libpython{version}.so.1.0"
    folder = Path(sysconfig.get_config_var("LIBDIR") or sys.base_prefix)
    if not (folder / library).exists():
        raise TritonUnavailableError(f"this Python was built without a shared {library}, which the stub needs")
    return folder
