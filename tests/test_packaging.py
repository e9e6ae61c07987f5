import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    parts = ("contract", "server", "client", "loadtest", "training")
    folders = {path.parent.relative_to(ROOT) for part in parts for path in (ROOT / part).rglob("__init__.py")}
    assert {".".join(folder.parts) for folder in folders} | {"moodstream", "moodstream.v1"} == set(
        CONFIG["tool"]["setuptools"]["packages"]
    )


def test_package_data_exists():
    for package, patterns in CONFIG["tool"]["setuptools"]["package-data"].items():
        top, _, rest = package.partition(".")
        folder = ROOT / CONFIG["tool"]["setuptools"]["package-dir"].get(top, top) / rest.replace(".", "/")
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package}: {pattern}"


def test_onnx_runtime_is_named_by_the_cpu_and_gpu_extras_only_and_they_exclude_each_other():
    project, extras = CONFIG["project"], CONFIG["project"]["optional-dependencies"]
    elsewhere = project["dependencies"] + [
        one for name, extra in extras.items() if name not in ("cpu", "gpu") for one in extra
    ]
    assert not [one for one in elsewhere if one.startswith("onnxruntime")]
    assert CONFIG["tool"]["uv"]["conflicts"] == [[{"extra": "cpu"}, {"extra": "gpu"}]]
