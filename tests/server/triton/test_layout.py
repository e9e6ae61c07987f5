import os
import shutil
import tempfile
from pathlib import Path

import pytest

from server.triton.launch import grpc_url
from server.triton.layout import lay_out
from server.triton.wheel import TritonWheel


def test_backends_are_real_copies(wheel: TritonWheel) -> None:
    layout = lay_out(wheel)
    files = [path for path in layout.backends.rglob("*") if not path.is_dir()]
    assert {str(path.relative_to(layout.backends)) for path in files} == {
        "python/libtriton_python.so",
        "python/triton_python_backend_utils.py",
        "python/triton_python_backend_stub",
        "onnxruntime/model.py",
        "onnxruntime/ort_session.py",
    }
    assert not any(path.is_symlink() for path in files)
    assert os.access(layout.backends / "python" / "triton_python_backend_stub", os.X_OK)
    assert layout.root.stat().st_mode & 0o077 == 0
    shutil.rmtree(layout.root)


def test_the_socket_fits_into_an_address(wheel: TritonWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    layout = lay_out(wheel)
    assert len(grpc_url(layout).removeprefix("unix:")) < 108
    assert not list(deep.iterdir())
    shutil.rmtree(layout.root)
