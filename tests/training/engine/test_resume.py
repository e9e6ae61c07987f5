"""A run that is killed and started again ends like one that was left alone, bit for bit."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.engine.toy import TalkTask, ToyTask
from training.engine.checkpoint import ResumeError
from training.engine.recipe import recipe_of
from training.engine.trainer import distil

ROOT = Path(__file__).resolve().parents[3]
EVERYTHING: dict[str, Any] = {
    "task": "toy",
    "teachers": ["good", "fair", "random"],
    "methods": ["kd", "crd", {"name": "fitnet", "weight": 1.0, "weigher": "attention_select"}],
    "weigher": "meta",
    "step": ["reweight", "meta_teacher"],
    "budget": {"steps": 40, "batch": 32, "evaluations": 8, "learning_rate": 5e-3},
}
CONVERSATIONS: dict[str, Any] = {
    "task": "talk",
    "teachers": ["good", "random"],
    "methods": ["kd", {"name": "fitnet", "weight": 1.0}],
    "weigher": "meta",
    "step": ["reweight"],
    "budget": {"steps": 40, "batch": 8, "evaluations": 8, "learning_rate": 5e-3},
}
PLAIN: dict[str, Any] = {"task": "toy", "budget": {"steps": 120, "batch": 16, "evaluations": 10, "learning_rate": 1e-2}}


def start(recipe: Path, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.training.engine.run_toy", str(recipe), str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_at(process: "subprocess.Popen[str]", step: int) -> None:
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == f"step {step}\n":
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("table", [PLAIN, EVERYTHING, CONVERSATIONS], ids=["plain", "everything", "conversations"])
def test_killed_and_resumed_is_bit_for_bit_the_same(table: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(table))
    steps = table["budget"]["steps"]
    left_alone = start(recipe, tmp_path / "alone")
    killed_at = sorted(random.sample(range(1, steps), 2))
    for step in killed_at:
        kill_at(start(recipe, tmp_path / "killed"), step)
    last = start(recipe, tmp_path / "killed")
    for process in (left_alone, last):
        process.communicate()
        assert process.returncode == 0

    alone, killed = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("alone", "killed"))
    assert_same(without_clocks(alone), without_clocks(killed), f"killed at {killed_at}")
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("alone", "killed")]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["history"] == results[1]["history"]


def without_clocks(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "progress": {key: value for key, value in state["progress"].items() if key != "watch"}}


def assert_same(a: Any, b: Any, where: str) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}, {key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}, {i}")
    else:
        assert a == b or (a != a and b != b), where


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    recipe = recipe_of({**PLAIN, "budget": {"steps": 4, "batch": 16}})
    first = distil(recipe, ToyTask(), tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    assert distil(recipe, ToyTask(), tmp_path) == first
    assert not (tmp_path / "checkpoint.pt").exists()


def test_another_recipe_in_the_folder_is_refused(tmp_path: Path) -> None:
    distil(recipe_of({**PLAIN, "budget": {"steps": 4, "batch": 16}}), ToyTask(), tmp_path)
    with pytest.raises(ResumeError, match=r"another recipe \(seed differ\)"):
        distil(recipe_of({**PLAIN, "budget": {"steps": 4, "batch": 16}, "seed": 1}), ToyTask(), tmp_path)


def test_a_run_of_before_a_setting_existed_had_its_default(tmp_path: Path) -> None:
    table = {"task": "talk", "budget": {"steps": 4, "batch": 8}}
    distil(recipe_of(table), TalkTask(), tmp_path)
    result, checkpoint = tmp_path / "result.json", tmp_path / "checkpoint.pt"
    report, state = json.loads(result.read_text()), torch.load(checkpoint, weights_only=True)
    for recipe in (report["recipe"], state["recipe"]):
        del recipe["modality_dropout"]
    result.write_text(json.dumps(report))
    torch.save(state, checkpoint)
    other = recipe_of({**table, "modality_dropout": 0.5})

    assert distil(recipe_of(table), TalkTask(), tmp_path) == report
    with pytest.raises(ResumeError, match=r"another recipe \(modality_dropout differ\)"):
        distil(other, TalkTask(), tmp_path)
    result.unlink()
    with pytest.raises(ResumeError, match=r"another recipe \(modality_dropout differ\)"):
        distil(other, TalkTask(), tmp_path)
    assert distil(recipe_of(table), TalkTask(), tmp_path)["metrics"] == report["metrics"]


def test_a_recipe_that_has_gone_out_of_use_is_refused(tmp_path: Path) -> None:
    recipe = recipe_of({**PLAIN, "budget": {"steps": 4, "batch": 16}})
    report = distil(recipe, ToyTask(), tmp_path)
    report["recipe"]["old_setting"] = 1
    (tmp_path / "result.json").write_text(json.dumps(report))
    with pytest.raises(ResumeError, match=r"cannot be read \(old_setting: unknown key"):
        distil(recipe, ToyTask(), tmp_path)


def test_other_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of({**PLAIN, "budget": {"steps": 4, "batch": 16}})
    distil(recipe, ToyTask(), tmp_path)
    (tmp_path / "result.json").unlink()
    monkeypatch.setattr(ToyTask, "fingerprint", lambda _: "other")
    with pytest.raises(ResumeError, match="other data"):
        distil(recipe, ToyTask(), tmp_path)
