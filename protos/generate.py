"""Generates the Python stubs, the descriptor image and the page of `protos/moodstream/v1` (development only).

python protos/generate.py                 write the stubs into protos/moodstream/v1 and docs/protocol.md
python protos/generate.py --check         fail when the committed stubs or the page are not what the sources give
python protos/generate.py --image FILE    write the descriptor image that buf lints and compares
"""

import argparse
import filecmp
import sys
import tempfile
from importlib.resources import files as package_files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from reference import reference

ROOT = Path(__file__).resolve().parent
PACKAGE = "moodstream/v1"
PAGE = ROOT.parent / "docs" / "protocol.md"


def _protoc(*flags: str) -> None:
    sources = sorted(str(path) for path in (ROOT / PACKAGE).glob("*.proto"))
    # google/protobuf ships with grpcio-tools.
    includes = [str(ROOT), str(package_files("grpc_tools") / "_proto")]
    status = protoc.main(["protoc", *(f"-I{path}" for path in includes), *flags, *sources])
    if status:
        raise SystemExit(status)


def write_stubs(target: Path) -> None:
    """Write the Python stubs, with their `.pyi`, under `target`."""
    out = [f"--{plugin}_out={target}" for plugin in ("python", "grpc_python", "mypy", "mypy_grpc")]
    _protoc(*out)
    for package in (target / "moodstream", target / PACKAGE):
        (package / "__init__.py").touch()
    # Only the file with the service has gRPC stubs; the others come out empty.
    for stub in (target / PACKAGE).glob("*_pb2_grpc.py*"):
        if stub.name.split("_pb2")[0] != "service":
            stub.unlink()


def page() -> str:
    """Return docs/protocol.md: the guide, and the reference from the comments."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        write_image(image)
        files = FileDescriptorSet.FromString(image.read_bytes()).file
    guide = (ROOT / "guide.md").read_text()
    return f"<!-- Made from protos/ by protos/generate.py; do not edit. -->\n\n{guide}\n{reference(files, PACKAGE)}"


def write_image(target: Path) -> None:
    """Write the descriptors of all files, with their comments."""
    _protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={target}")


def check() -> int:
    """Return 1, and say which, when committed stubs or the page differ from fresh ones."""
    with tempfile.TemporaryDirectory() as folder:
        write_stubs(Path(folder))
        fresh = {path.name for path in (Path(folder) / PACKAGE).glob("*.py*")}
        kept = {path.name for path in (ROOT / PACKAGE).glob("*.py*")}
        same, _, _ = filecmp.cmpfiles(Path(folder) / PACKAGE, ROOT / PACKAGE, sorted(fresh | kept), shallow=False)
    stale = sorted((fresh | kept) - set(same))
    if not PAGE.is_file() or PAGE.read_text() != page():
        stale.append(str(PAGE.relative_to(ROOT.parent)))
    if stale:
        print(f"stale: {', '.join(stale)}; run `make protos`", file=sys.stderr)
    return bool(stale)


def main() -> int:
    """Run the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--image", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    if arguments.image:
        write_image(arguments.image)
        return 0
    write_stubs(ROOT)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
