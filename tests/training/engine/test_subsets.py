"""Modalities are taken away as often as asked, never the last one in training, and nothing else changes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.engine.toy import TalkTask, ToyTask
from training.data.task import Samples
from training.engine.evaluation import outputs_of
from training.engine.metrics import measure
from training.engine.recipe import recipe_of
from training.engine.subsets import (
    drop_modalities,
    dropout_curve,
    hide,
    hide_at_random,
    keep_of,
    subset_outputs,
    subsets_of,
)
from training.engine.tables import RecipeError
from training.engine.trainer import STUDENT, distil

CPU = torch.device("cpu")
MANY = 20_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_present(present: torch.Tensor) -> Samples:
    return Samples({"present": present}, ids=[str(i) for i in range(len(present))], present=present)


def test_only_subsets_that_the_samples_have() -> None:
    assert subsets_of(TalkTask().samples("test")) == ("a--", "--t", "a-t")
    assert len(subsets_of(of_present(torch.eye(3)))) == 7
    assert subsets_of(of_present(torch.tensor([[0.0, 1.0, 0.0]]))) == ("-v-",)


def test_what_is_hidden_is_not_present_and_the_rest_stays() -> None:
    samples = TalkTask().samples("test")
    hidden = hide(samples, keep_of("a--"))
    for row, (before, after) in enumerate(zip(samples.present.tolist(), hidden.present.tolist(), strict=True)):
        assert after == [before[0], 0.0, 0.0]
        assert hidden.inputs["present"][row].tolist() == after
    assert hidden.unit is samples.unit
    assert hidden.inputs["text"] is samples.inputs["text"]
    assert samples.inputs["present"][0, 2] == 1


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_modalities_are_missing_at_the_rate_independently(rate: float) -> None:
    hidden = hide_at_random(of_present(torch.ones(MANY, 3)), rate)
    missing = 1 - hidden.present
    assert missing.mean(0) == pytest.approx([rate] * 3, abs=0.015)
    assert missing.prod(1).mean() == pytest.approx(rate**3, abs=0.015)
    assert torch.equal(hidden.present, hidden.inputs["present"])


def test_a_higher_rate_takes_away_what_a_lower_one_does() -> None:
    samples = of_present(torch.ones(200, 3))
    low, high, other = (hide_at_random(samples, *key).present for key in ((0.2, 5), (0.6, 5), (0.6, 6)))
    assert (high <= low).all()
    assert not torch.equal(high, other)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.95])
def test_in_training_the_last_modality_stays(rate: float) -> None:
    """By enumeration: each subset of the three is hidden with its probability, but hiding all leaves one of three."""
    present = torch.ones(MANY, 3)
    kept = drop_modalities({"present": present}, rate, seeded())["present"]
    for pattern in range(1, 8):
        bits = torch.tensor([pattern >> place & 1 for place in range(3)], dtype=torch.float32)
        count = int(bits.sum())
        expected = (1 - rate) ** count * rate ** (3 - count) + (rate**3 / 3 if count == 1 else 0.0)
        assert (kept == bits).all(1).double().mean() == pytest.approx(expected, abs=0.015)
    assert kept.sum(1).min() == 1


def test_what_a_sample_lacks_is_not_brought_back() -> None:
    present = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).repeat(MANY // 4, 1)
    kept = drop_modalities({"present": present, "text": present}, 0.7, seeded())
    assert (kept["present"] <= present).all()
    assert torch.equal(kept["present"].sum(1) > 0, present.sum(1) > 0)
    either = 0.3 + 0.7**2 / 2
    assert kept["present"][::3].mean(0).tolist() == pytest.approx([either, 0, either], abs=0.02)
    assert kept["text"] is present


def test_the_measures_of_a_subset_are_those_of_the_samples_without_the_rest() -> None:
    torch.manual_seed(0)
    task = TalkTask()
    student, samples = task.student(), task.samples("test")
    outputs = subset_outputs(student, samples, CPU)
    measures = {subset: measure(output, samples, task.labels) for subset, output in outputs.items()}
    deaf = {**samples.inputs, "audio": torch.zeros_like(samples.inputs["audio"])}
    deaf["present"] = samples.present * torch.tensor([0.0, 0.0, 1.0])
    logits = student(deaf).logits
    assert measures["--t"]["accuracy"] == pytest.approx(
        100 * (logits.argmax(1) == samples.target).double().mean().item()
    )
    assert measures["a-t"] == measure(outputs_of(student, samples, CPU), samples, task.labels)
    curve = dropout_curve(student, samples, task.labels, CPU)
    assert list(curve) == [f"0.{tenth}" for tenth in range(10)]
    assert curve["0.0"] == measures["a-t"]
    assert curve["0.9"] != curve["0.0"]


def run(folder: Path, task: ToyTask, **table: Any) -> dict[str, Any]:
    budget = {"steps": 6, "batch": 8, "evaluations": 2}
    return distil(recipe_of({"task": task.name, "budget": budget, **table}), task, folder)


def test_the_student_sees_less_and_the_same_whenever_it_is_asked_for(tmp_path: Path) -> None:
    class Watching(TalkTask):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[torch.Tensor] = []

        def student(self, name: str = "default") -> torch.nn.Module:
            student = super().student(name)
            student.register_forward_pre_hook(
                lambda module, args: self.seen.append(args[0]["present"]) if module.training else None
            )
            return student

    tasks = [Watching(), Watching(), Watching()]
    for i, (task, rate) in enumerate(zip(tasks, (0.5, 0.5, 0.0), strict=True)):
        run(tmp_path / str(i), task, modality_dropout=rate)
    first, again, complete = (torch.cat(task.seen[-6:]) for task in tasks)
    assert torch.equal(first, again)
    assert (first <= complete).all()
    assert first.sum() < 0.8 * complete.sum()
    assert (first.sum(1) >= 1).all()
    assert torch.equal(complete.sum(0) > 0, torch.tensor([True, False, True]))


def test_the_report_has_subsets_and_rates_where_they_are_asked_for(tmp_path: Path) -> None:
    task = TalkTask()
    report = run(tmp_path / "asked", task, subsets=True)
    assert set(report["metrics"]) == {"valid", "test", "subsets", "dropout"}
    assert report["metrics"]["subsets"]["a-t"] == report["metrics"]["dropout"]["0.0"] == report["metrics"]["test"]
    student = task.student()
    student.load_state_dict(torch.load(tmp_path / "asked" / STUDENT, weights_only=True))
    test = task.samples("test")
    outputs = subset_outputs(student, test, CPU)
    measured = {subset: measure(output, test, task.labels) for subset, output in outputs.items()}
    assert report["metrics"]["subsets"] == measured
    assert set(run(tmp_path / "not", task)["metrics"]) == {"valid", "test"}


def test_a_student_that_is_to_do_without_some_is_chosen_by_the_mean_over_subsets(tmp_path: Path) -> None:
    task = TalkTask()
    report = run(tmp_path, task, modality_dropout=0.5)
    student, valid = task.student(), task.samples("valid")
    student.load_state_dict(torch.load(tmp_path / STUDENT, weights_only=True))
    found = [measure(output, valid, task.labels)["accuracy"] for output in subset_outputs(student, valid, CPU).values()]
    assert report["metrics"]["valid"]["subset_accuracy"] == pytest.approx(sum(found) / len(found), abs=1e-4)
    rows = {row["step"]: row["valid/subset_accuracy"] for row in report["history"]}
    assert rows[report["chosen_step"]] == max(rows.values())
    assert "subset_accuracy" not in run(tmp_path / "whole", task)["metrics"]["valid"]


@pytest.mark.parametrize("setting", [{"modality_dropout": 0.2}, {"subsets": True}])
def test_a_task_whose_inputs_do_not_say_what_is_present_is_refused(setting: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"{next(iter(setting))}: the inputs of toy don't say"):
        run(tmp_path, ToyTask(), **setting)
