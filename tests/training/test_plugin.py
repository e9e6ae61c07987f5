"""Somebody else's package (tests/plugin), installed beside ours: its method, task and teacher are chosen by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
task = "colours"
teachers = ["brightness"]
methods = ["kd", { name = "cosine", weight = 0.5 }]

[budget]
steps = 12
batch = 32
evaluations = 1
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Installs the package and gives the command line that sees it, in a folder of its own."""
    site, here = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("here")
    source = here / "source"
    subprocess.run(["cp", "-r", ROOT / "tests/plugin", source], check=True)  # Building writes beside the sources.
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*pip, "--target", site, source], check=True)
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "protos")])
    environment = {**os.environ, "PYTHONPATH": path, "MOODSTREAM_DATA": str(here), "COLUMNS": "200"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "training", *arguments]
        return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)

    run.folder = here
    return run


def test_its_method_is_listed_with_ours(call):
    listed = call("methods", "--json")
    assert listed.returncode == 0, listed.stderr
    (entry,) = [entry for entry in json.loads(listed.stdout) if entry["name"] == "cosine"]
    assert entry["module"] == "colours.cosine"
    assert [parameter["name"] for parameter in entry["parameters"]] == ["weight"]


def test_a_recipe_chooses_its_task_teacher_and_method(call):
    (call.folder / "colours.toml").write_text(RECIPE)
    done = call("distill", "colours.toml", "--out", "run", "--threads", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads((call.folder / "run/result.json").read_text())
    assert result["recipe"]["methods"][1] == {"name": "cosine", "weight": 0.5}
    assert set(result["data"]["teachers"]) == {"brightness"}
    assert list((call.folder / "cache/teacher_outputs/colours").glob("brightness-*-train.pt"))


def test_its_names_are_offered_and_its_options_checked(call):
    (call.folder / "colours.toml").write_text(RECIPE)
    for setting, message in (
        ("task=colour", "did you mean 'colours'?"),
        ("teachers=brightnes", "did you mean 'brightness'?"),
        ("methods.1.weight=-1", "methods.1: weight must be at least 0"),
        ("methods.1.wieght=1", "did you mean 'weight'?"),
    ):
        refused = call("distill", "colours.toml", setting)
        assert refused.returncode == 2
        assert message in refused.stderr
