"""The loop, on a toy task in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.engine.toy import TalkTask, ToyTask
from training.data.task import Samples
from training.engine.evaluation import outputs_of
from training.engine.recipe import recipe_of
from training.engine.result import PREDICTIONS
from training.engine.tables import RecipeError
from training.engine.trainer import STUDENT, distil
from training.engine.watchers import Bar, Board, Silence

BUDGET = {"steps": 30, "batch": 32, "evaluations": 3, "learning_rate": 1e-2}


def run(folder: Path, **table: Any) -> dict[str, Any]:
    return distil(recipe_of({"task": "toy", "budget": BUDGET, **table}), ToyTask(), folder)


def test_a_student_learns_and_the_report_says_how(tmp_path: Path) -> None:
    report = run(tmp_path, budget={**BUDGET, "steps": 120})
    assert report["metrics"]["test"]["accuracy"] > 50
    assert set(report["metrics"]) == {"valid", "test"}
    assert sum(report["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert {"loading", "computing", "evaluating"} == set(report["shares"])
    assert 0 < report["peak_memory_mib"] < 8192
    assert report["within_memory_limit"]
    assert report["student"]["parameters"] == sum(p.numel() for p in ToyTask().student().parameters())
    assert report["data"]["sha256"] == ToyTask().fingerprint()
    assert {"torch", "python"} <= set(report["versions"])


def test_the_chosen_student_is_the_best_on_validation(tmp_path: Path) -> None:
    report = run(tmp_path, budget={**BUDGET, "evaluations": 10})
    best = max(report["history"], key=lambda row: row["valid/accuracy"])
    assert report["chosen_step"] == best["step"]
    task = ToyTask()
    student = task.student()
    student.load_state_dict(torch.load(tmp_path / STUDENT, weights_only=True))
    samples = task.samples("valid")
    logits = outputs_of(student, samples, torch.device("cpu")).logits
    assert logits is not None
    assert 100 * (logits.argmax(1) == samples.target).double().mean().item() == pytest.approx(
        best["valid/accuracy"], abs=1e-4
    )


def test_many_methods_and_teachers_are_configuration_alone(tmp_path: Path) -> None:
    report = run(
        tmp_path,
        teachers=["good", "fair", "random"],
        methods=["kd", {"name": "kd", "temperature": 1.0}, "rkd", {"name": "fitnet", "weigher": "confidence"}],
        weigher="meta",
        step=["reweight", "meta_teacher"],
    )
    row = report["history"][-1]
    assert {"kd/good", "kd2/kd/random", "fitnet/fair", "weight/good", "weight/fitnet/random"} <= set(row)
    assert {"meta/outer_loss", "meta_teacher/outer_loss", "reweight/used"} <= set(row)
    weights = report["weights"]
    assert len(weights["steps"]) == len(weights["good"]) == 3
    assert weights["good"][-1] + weights["fair"][-1] + weights["random"][-1] == pytest.approx(1, abs=1e-4)
    assert (tmp_path / "weights.csv").read_text().startswith("step,good,fair,random")
    assert set(report["data"]["teachers"]) == {"good", "fair", "random"}


def test_a_student_that_reads_conversations_is_measured_on_whole_ones() -> None:
    task = TalkTask()
    blobs = task.samples("test")
    unit = torch.zeros(len(blobs), dtype=torch.int64).repeat(4)
    unit[200:] = 1  # Neither conversation ends where a chunk of 256 would.
    inputs = {name: tensor.repeat(4, *[1] * (tensor.ndim - 1)) for name, tensor in blobs.inputs.items()}
    inputs["conversation"] = unit
    samples = Samples(inputs, present=inputs["present"], unit=unit)
    student = task.student()
    answered = outputs_of(student, samples, torch.device("cpu")).logits
    whole = torch.cat(
        [student({name: tensor[unit == number] for name, tensor in inputs.items()}).logits for number in (0, 1)]
    )
    torch.testing.assert_close(answered, whole)


def test_conversations_are_trained_on_whole(tmp_path: Path) -> None:
    report = distil(recipe_of({"task": "talk", "budget": {**BUDGET, "steps": 120, "batch": 8}}), TalkTask(), tmp_path)
    assert report["metrics"]["test"]["accuracy"] > 40


def test_predictions_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    task = TalkTask()
    table = {"task": "talk", "budget": {"steps": 4, "batch": 8}}
    report = distil(recipe_of({**table, "predictions": True}), task, tmp_path)
    samples = task.samples("test")
    student = task.student()
    student.load_state_dict(torch.load(tmp_path / STUDENT, weights_only=True))
    with np.load(tmp_path / PREDICTIONS) as kept:
        assert kept["ids"].tolist() == samples.ids
        assert samples.unit is not None
        assert kept["unit"].tolist() == samples.unit.tolist()
        expected = student(samples.inputs)
        np.testing.assert_allclose(kept["logits"], expected.logits.detach(), atol=1e-6)
        np.testing.assert_allclose(kept["predicted_score"], expected.score.detach(), atol=1e-6)
        assert kept["logits"].dtype == kept["score"].dtype == np.float32
        accuracy = 100 * (kept["logits"].argmax(1) == kept["target"]).mean()
    assert accuracy == pytest.approx(report["metrics"]["test"]["accuracy"])
    distil(recipe_of(table), task, tmp_path / "not")
    assert not (tmp_path / "not" / PREDICTIONS).exists()


def test_an_epoch_is_counted_in_conversations(tmp_path: Path) -> None:
    task = TalkTask()
    unit = task.samples("train").unit
    assert unit is not None
    report = distil(recipe_of({"task": "talk", "budget": {"epochs": 3, "batch": 8}}), task, tmp_path)
    assert report["steps"] == 3 * (len(unit.unique()) // 8)


def test_patience_ends_a_run(tmp_path: Path) -> None:
    # A rate so small that nothing changes: the first evaluation stays the best.
    report = run(
        tmp_path, student="steady", budget={**BUDGET, "learning_rate": 1e-12, "evaluations": 30, "patience": 2}
    )
    assert report["stopped"] == "patience"
    assert (report["steps"], report["chosen_step"]) == (3, 1)


def test_time_ends_a_run(tmp_path: Path) -> None:
    report = run(tmp_path, budget={**BUDGET, "steps": 10_000, "seconds": 0.01, "evaluations": 10_000})
    assert report["stopped"] == "seconds"
    assert report["steps"] < 10_000


def test_bfloat16_on_a_cpu(tmp_path: Path) -> None:
    full, half = run(tmp_path / "full", student="steady"), run(tmp_path / "half", student="steady", precision="bf16")
    assert half["history"][0]["loss"] != full["history"][0]["loss"]
    assert half["history"][0]["loss"] == pytest.approx(full["history"][0]["loss"], rel=0.02)


def test_clipping_can_be_switched_off(tmp_path: Path) -> None:
    on = run(tmp_path / "on", student="steady", budget={**BUDGET, "clip_norm": 1e-6})
    off = run(tmp_path / "off", student="steady", budget={**BUDGET, "clip_norm": 0})
    assert off["history"][-1]["loss"] < on["history"][-1]["loss"]


def test_seeds_repeat_and_differ(tmp_path: Path) -> None:
    first, again = (run(tmp_path / name, seed=1)["history"] for name in ("a", "b"))
    assert first == again
    assert first != run(tmp_path / "c", seed=2)["history"]


def test_watchers_see_the_run(tmp_path: Path) -> None:
    class Count(Silence):
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.evaluations: list[int] = []

        def stepped(self, step: int) -> None:
            self.steps.append(step)

        def evaluated(self, step: int, numbers: Any) -> None:
            assert "valid/accuracy" in numbers
            self.evaluations.append(step)

    count = Count()
    recipe = recipe_of({"task": "toy", "budget": BUDGET})
    distil(recipe, ToyTask(), tmp_path, (count, Bar("accuracy"), Board(tmp_path / "logs")))
    assert count.steps == list(range(1, 31))
    assert count.evaluations == [10, 20, 30]
    assert next((tmp_path / "logs").iterdir()).name.startswith("events.out.tfevents")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"student": "defualt"}, r"student: toy has no student 'defualt'; did you mean 'default'\?"),
        ({"teachers": ["good", "nobody"], "methods": ["kd"]}, "teachers.1: .*nobody"),
        ({"teachers": ["good"], "methods": [{"name": "attention"}]}, "methods: attention compares positions"),
        ({"teachers": ["good"], "methods": [{"name": "fitnet", "layers": [["h1", "h9"]]}]}, "methods: .*h9"),
        ({"teachers": ["good"], "methods": ["kd"], "step": "meta"}, "step: the step 'meta' has nothing to learn"),
        ({"budget": {"steps": 3, "batch": 1000}}, "budget.batch: 1000 is more than the 192"),
    ],
)
def test_what_does_not_fit_is_named(table: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        run(tmp_path, **table)


def test_a_teacher_without_weights_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="fetch-teachers"):
        run(tmp_path, teachers=["missing"], methods=["kd"])


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    class Broken(ToyTask):
        metric = "pearson"

        def student(self, name: str = "default") -> torch.nn.Module:
            student = super().student(name)
            torch.nn.init.constant_(student.head.weight, float("nan"))  # type: ignore[union-attr, arg-type]
            return student

    with pytest.raises(FloatingPointError, match="learning_rate"):
        distil(recipe_of({"task": "toy", "budget": BUDGET}), Broken(), tmp_path)
