"""Commands, on a toy task."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import training.data.tasks
from bench.cli import app as bench
from tests.training.engine.toy import ToyTask
from training.cli import app
from training.distillation import METHODS, STEPS, WEIGHERS

COMMANDS = {app: ["methods", "train-teacher", "distill", "evaluate"], bench: ["compare", "run", "report", "lines"]}
RECIPE = """
task = "toy"
teachers = ["good"]
methods = "kd"
[budget]
steps = 6
batch = 32
evaluations = 2
"""


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(training.data.tasks.TASKS, "toy", ToyTask)
    monkeypatch.setenv("MOODSTREAM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.toml").write_text(RECIPE)


def call(*arguments: str) -> Result:
    program = bench if arguments[0] in COMMANDS[bench] else app
    return CliRunner().invoke(program, list(arguments), env={"COLUMNS": "200"})


@pytest.mark.parametrize("command", [*COMMANDS[app], *COMMANDS[bench]])
def test_every_command_has_help(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout) > 300


def test_methods_lists_everything_that_distils() -> None:
    entries = json.loads(call("methods", "--json").stdout)
    assert {entry["name"] for entry in entries} == {*METHODS, *WEIGHERS, *STEPS}
    assert all(entry["paper"] and entry["equation"] for entry in entries)
    assert "rkd" in call("methods").stdout


def test_distill_evaluate_compare(tmp_path: Path) -> None:
    result = call("distill", "toy.toml", "--set", "methods.0.temperature=2", "seed=1")
    assert result.exit_code == 0, result.output
    for said in ("6 steps in", "computing", "loading", "peak memory", "parameters"):
        assert said in result.stdout
    folder = tmp_path / "runs/distill/toy-1"
    report = json.loads((folder / "result.json").read_text())
    assert report["recipe"]["methods"] == [{"name": "kd", "temperature": 2}]

    measured = json.loads(call("evaluate", str(folder), "--split", "test", "--json").stdout)
    assert measured["accuracy"] == report["metrics"]["test"]["accuracy"]
    printed = call("evaluate", str(folder)).stdout
    assert "accuracy_by_gender=0" in printed
    assert "truth" in printed

    assert call("distill", "toy.toml").exit_code == 0
    compared = call("compare", "runs")
    assert compared.exit_code == 0, compared.output
    assert "kd" in compared.stdout
    assert "±" in compared.stdout


def test_train_teacher_prints_its_scores() -> None:
    result = call("train-teacher", "toy", "good")
    assert result.exit_code == 0, result.output
    assert "good on toy, valid: accuracy" in result.stdout


def test_report_renders_its_pages(tmp_path: Path) -> None:
    result = call("report", "--results", str(tmp_path / "none"), "--docs", str(tmp_path / "docs"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "docs/results.md").read_text().startswith("# Results")
    assert (tmp_path / "docs/methods.md").read_text().startswith("# Methods")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distill", "toi.toml"], "toi.toml: no such recipe; did you mean 'toy.toml'?"),
        (["distill", "toy.toml", "task=toi"], "task: no task 'toi': did you mean 'toy'?"),
        (["distill", "toy.toml", "teachers=missing"], "run `python -m training fetch-teachers`"),
        (["distill", "toy.toml", "methods.0.temprature=1"], "did you mean 'temperature'?"),
        (["evaluate", "nowhere"], "nowhere/result.json"),
        (["compare", "nowhere"], "nowhere"),
        (["run", "unimodel"], "no suite 'unimodel'; did you mean 'unimodal'?"),
        (["train-teacher", "toy", "nobody"], "toy has no teacher 'nobody'"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
