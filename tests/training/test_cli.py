import pytest
from typer.testing import CliRunner

from training.cli import app

runner = CliRunner()


def test_without_data_the_error_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.delenv("MOODSTREAM_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text('task = "video_encoder"')
    result = runner.invoke(app, ["distill", "r.toml"])
    assert result.exit_code == 2
    assert result.stderr.strip() == "error: no data folder: give --data DIR or set MOODSTREAM_DATA"


def test_export_with_the_gpu_profile_changes_configurations_alone(tmp_path, repository, monkeypatch):
    monkeypatch.chdir(repository.parent)
    result = runner.invoke(app, ["export", "--profile", "gpu", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "dynamic_batching" in (tmp_path / "out/fusion/config.pbtxt").read_text()
    for path in repository.rglob("*"):
        if path.is_file() and path.suffix in (".onnx", ".json", ".py", ".md", ".txt"):
            assert (tmp_path / "out" / path.relative_to(repository)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("arguments", [["no_run"], ["no_run", "--out", "elsewhere"]])
def test_export_of_a_folder_without_a_run_says_so_and_writes_nothing(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["export", *arguments])
    assert result.exit_code == 2
    assert "no_run holds no finished run" in result.stderr
    assert not (tmp_path / "elsewhere").exists()
