"""Suites whose entries are tested against each other, on the toy conversations."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.bootstrap import paired_bootstrap
from bench.comparisons import compare_entries
from bench.entries import entry_recipe
from bench.runs import Bench, Plan
from bench.suite import BEST, Entry, Suite
from tests.training.engine.toy import REGISTRY

Ran = tuple[Bench, dict[str, Any]]
KD = {"name": "kd"}
SUITE = Suite(
    "talk",
    "Talk",
    "Do they differ?",
    {"talk": ("good",)},
    {"talk": {"epochs": 2, "batch": 8, "evaluations": 2}},
    (
        Entry("plain"),
        Entry("kd", "A", {"teachers": BEST, "methods": [KD]}, (0.5, 2.0)),
        Entry("with everything", "", recipe_of={"talk": {"modality_dropout": 0.0}}),
        Entry("elsewhere", tasks=("toy",)),
    ),
    "plain",
    tuning=0.5,
    seeds=(0, 1, 2),
    base={"predictions": True, "subsets": True, "modality_dropout": 0.3},
    trial_seeds=2,
    seeds_of={"talk": 2},
    tests=True,
    pairs=(("kd", "with everything"),),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("talk")
    plan = Plan(folder, folder / "cache", folder / "talk.json", registry=REGISTRY)
    bench = Bench(SUITE, plan)
    return bench, bench.run()


def right(bench: Bench, title: str, seed: int) -> tuple[Any, Any]:
    """Whether each answer is right, and the conversations."""
    kept = np.load(_folder(bench, title, seed) / "predictions.npz")
    return kept["logits"].argmax(1) == kept["target"], kept["unit"]


def _folder(bench: Bench, title: str, seed: int) -> Path:
    (entry,) = [entry for entry in SUITE.entries if entry.title == title]
    (job,) = bench._jobs(entry, "talk", seed, bench._chosen(entry, "talk"))
    return job.folder


def test_entries_are_compared_over_their_seeds(run: Ran) -> None:
    bench, report = run
    found = {(one["title"], one["against"]): one for one in report["comparisons"] if one["metric"] == "accuracy"}
    assert list(found) == [("kd", "plain"), ("with everything", "plain"), ("kd", "with everything")]
    a, b = ([right(bench, title, seed)[0] for seed in (0, 1)] for title in ("kd", "plain"))
    one = found["kd", "plain"]
    assert one["seeds"] == 2
    assert one["mean"] == pytest.approx(100 * (np.mean(a) - np.mean(b)), abs=1e-4)
    again = paired_bootstrap(np.array(a, dtype=float), np.array(b, dtype=float), right(bench, "kd", 0)[1])
    assert (one["low"], one["high"], one["p"]) == pytest.approx((again.low, again.high, again.p), abs=1e-4)
    gains = {run["title"]: 0.0 for run in report["runs"]}
    for made in report["runs"]:
        gains[made["title"]] += made["metrics"]["test"]["accuracy"] / 2
    assert one["mean"] == pytest.approx(gains["kd"] - gains["plain"], abs=1e-3)


def test_entries_are_compared_over_subsets_of_modalities(run: Ran) -> None:
    _, report = run
    found = {(one["title"], one["against"]): one for one in report["comparisons"] if one["metric"] == "subset_accuracy"}
    assert list(found) == [("kd", "plain"), ("with everything", "plain"), ("kd", "with everything")]
    means = {
        title: np.mean(
            [
                measures["accuracy"]
                for made in report["runs"]
                if made["title"] == title
                for measures in made["metrics"]["subsets"].values()
            ]
        )
        for title in ("kd", "with everything")
    }
    pair = found["kd", "with everything"]
    assert pair["mean"] == pytest.approx(means["kd"] - means["with everything"], abs=0.02)
    assert pair["low"] <= pair["mean"] <= pair["high"]


def test_a_factor_is_chosen_by_the_mean_of_its_trials(run: Ran) -> None:
    _, report = run
    trials = {factor: [t["valid"] for t in report["trials"] if t["factor"] == factor] for factor in (0.5, 2.0)}
    assert [len(values) for values in trials.values()] == [2, 2]
    (chosen,) = {made["factor"] for made in report["runs"] if made["title"] == "kd"}
    assert np.mean(trials[chosen]) == max(np.mean(values) for values in trials.values())


def test_a_task_has_its_own_entries_and_seeds(run: Ran) -> None:
    _, report = run
    made = [(run["title"], run["seed"]) for run in report["runs"]]
    assert made == [(title, seed) for title in ("plain", "kd", "with everything") for seed in (0, 1)]


def test_the_test_split_is_counted(run: Ran) -> None:
    bench, report = run
    target, unit = (np.load(_folder(bench, "plain", 0) / "predictions.npz")[name] for name in ("target", "unit"))
    counted = {"test": len(target), "units": len(set(unit)), "majority": np.bincount(target).max()}
    assert report["tasks"]["talk"]["samples"] == counted


def test_what_is_kept_of_subsets_is_brief(run: Ran) -> None:
    _, report = run
    metrics = report["runs"][0]["metrics"]
    assert set(metrics["subsets"]) == {"a--", "--t", "a-t"}
    kept = {name for part in metrics["dropout"].values() for name in part}
    assert kept == {"accuracy", "macro_f1"}


def test_earlier_comparisons_of_other_tasks_stay(run: Ran, tmp_path: Path) -> None:
    bench, _ = run
    other = {"task": "other", "title": "kd", "against": "plain"}
    (tmp_path / "talk.json").write_text(json.dumps({"tasks": {}, "comparisons": [other]}))
    report = Bench(SUITE, dataclasses.replace(bench.plan, out=tmp_path / "talk.json")).run()
    assert report["comparisons"][0] == other
    assert len(report["comparisons"]) == 1 + 3 * 3


def test_without_predictions_nothing_is_compared(tmp_path: Path) -> None:
    assert compare_entries(SUITE, "talk", {"plain": {0: tmp_path}, "kd": {0: tmp_path}}) == []


def test_base_and_epochs() -> None:
    survey = {"metric": "accuracy", "sha256": "x", "teachers": {"good": {"valid": {"accuracy": 1.0}, "sha256": "g"}}}
    recipe = entry_recipe(SUITE, SUITE.entries[2], "talk", survey, 0, scale=0.5)
    assert (recipe["modality_dropout"], recipe["subsets"], recipe["budget"]["epochs"]) == (0.0, True, 1.0)
    assert entry_recipe(SUITE, SUITE.entries[0], "talk", survey, 0)["modality_dropout"] == 0.3


def test_a_suite_that_cannot_be_tested_says_so() -> None:
    with pytest.raises(ValueError, match="tests need predictions = True in base"):
        dataclasses.replace(SUITE, base={})
    with pytest.raises(ValueError, match="pairs name an entry 'nobody' that there is not"):
        dataclasses.replace(SUITE, pairs=(("kd", "nobody"),))
