import json

import pytest
from typer.testing import CliRunner

from contract.models import MODELS
from training.cli import app
from training.models import STUDENTS

runner = CliRunner()


@pytest.mark.parametrize(
    "command", ["tokenizer", "fetch-teachers", "teach", "train", "evaluate-students", "export", "gpu-check"]
)
def test_every_command_has_help(command):
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_without_data_the_error_is_one_sentence(monkeypatch):
    monkeypatch.delenv("MOODSTREAM_DATA", raising=False)
    result = runner.invoke(app, ["train", "video"])
    assert result.exit_code == 2
    assert result.stderr.strip() == "error: no data folder: give --data DIR or set MOODSTREAM_DATA"


def test_fusion_wants_the_encoders_first(tmp_path):
    result = runner.invoke(app, ["train", "fusion", "--data", str(tmp_path), "--runs", str(tmp_path)])
    assert result.exit_code == 2
    assert "run `python -m training train audio_encoder` first" in result.stderr.replace("\n", " ")


def test_a_teacher_that_was_not_fetched_is_named(tmp_path):
    result = runner.invoke(app, ["teach", "text", "--data", str(tmp_path), "--cache", str(tmp_path)])
    assert result.exit_code == 2
    assert "run `python -m training fetch-teachers`" in result.stderr.replace("\n", " ")


def test_export_with_the_gpu_profile_changes_configurations_alone(tmp_path, repository, monkeypatch):
    monkeypatch.chdir(repository.parent)
    result = runner.invoke(app, ["export", "--profile", "gpu", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "dynamic_batching" in (tmp_path / "fusion/config.pbtxt").read_text()
    for path in repository.rglob("*"):
        if path.is_file() and path.suffix in (".onnx", ".json", ".py", ".md", ".txt") and path.parent != repository:
            assert (tmp_path / path.relative_to(repository)).read_bytes() == path.read_bytes()


def test_export_of_checkpoints_needs_the_report(tmp_path):
    arguments = [
        "export",
        "--checkpoints",
        str(tmp_path),
        "--data",
        str(tmp_path),
        "--results",
        str(tmp_path / "no.json"),
    ]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "run `python -m training evaluate-students` first" in result.stderr.replace("\n", " ")


def test_the_committed_cards_say_what_the_report_says(repository):
    report = json.loads((repository.parent / "docs/results/m1_students.json").read_text())
    assert report["students"].keys() == STUDENTS.keys()
    for name in (spec.name for spec in MODELS.values() if spec.backend == "onnxruntime"):
        card = (repository / name / "1/model_card.md").read_text()
        for scores in report["students"].get(name, {"metrics": {}})["metrics"].values():
            assert all(str(value) in card for value in scores.values())


def test_the_first_students_are_as_good_as_promised(repository):
    students = json.loads((repository.parent / "docs/results/m1_students.json").read_text())["students"]
    assert students["audio_encoder"]["metrics"]["test"]["accuracy"] >= 40
    assert students["video_encoder"]["metrics"]["test"]["accuracy"] >= 55
    assert students["text_encoder"]["metrics"]["test_sst2"]["accuracy"] >= 76
    fused = {key: scores["accuracy"] for key, scores in students["fusion"]["metrics"].items()}
    assert fused["valid avt"] > max(fused["valid a--"], fused["valid -v-"], fused["valid --t"])
