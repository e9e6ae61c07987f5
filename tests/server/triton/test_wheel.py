import importlib.metadata
import importlib.util
import os
import platform
import sysconfig

import pytest

from server.triton import wheel as wheel_module
from server.triton.errors import TritonUnavailableError
from server.triton.wheel import TritonWheel, find_wheel


def test_all_parts_are_there(wheel: TritonWheel) -> None:
    assert os.access(wheel.binary, os.X_OK)
    for path in (wheel.python_backend / "triton_python_backend_utils.py", wheel.stub, wheel.libraries):
        assert path.exists()
    assert list(wheel.python_libraries.glob("libpython3*.so.1.0"))


def test_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(TritonUnavailableError, match=r"linux x86_64 only, this is .* arm64"):
        find_wheel()


@pytest.mark.usefixtures("wheel")
def test_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.3.1")
    with pytest.raises(TritonUnavailableError, match=r"built for numpy 1, numpy 2\.3\.1 is installed"):
        find_wheel()


@pytest.mark.usefixtures("wheel")
def test_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TritonUnavailableError, match="nvidia-pytriton is not installed"):
        find_wheel()


@pytest.mark.usefixtures("wheel")
def test_no_stub_for_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    class VersionInfo:
        major, minor = 3, 99

    class Sys:
        platform = "linux"
        version_info = VersionInfo
        base_prefix = "/usr"

    monkeypatch.setattr(wheel_module, "sys", Sys)
    with pytest.raises(TritonUnavailableError, match=r"no Python backend stub for Python 3\.99"):
        find_wheel()


@pytest.mark.usefixtures("wheel")
def test_static_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: "/nowhere")
    with pytest.raises(TritonUnavailableError, match="without a shared libpython"):
        find_wheel()
