"""Suites on the toy task, in worker processes."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bench.entries import available, best_teacher, entry_recipe, resolved
from bench.jobs import Job, Lanes, TaskSource
from bench.report import render
from bench.runs import Bench, Plan
from bench.suite import ALL, BEST, SCALED, Entry, Suite
from bench.suites import SUITES
from tests.training.engine.toy import REGISTRY
from training.distillation import STEPS
from training.distillation.methods import METHODS
from training.distillation.weighers import WEIGHERS
from training.engine.recipe import recipe_of
from training.engine.tables import RecipeError

KD = {"name": "kd"}
SUITE = Suite(
    "toy",
    "Toy",
    "Does it run?",
    {"toy": ("fair", "good", "missing")},
    {"toy": {"steps": 8, "batch": 32, "evaluations": 2}},
    (
        Entry("plain"),
        Entry("kd", "A", {"teachers": BEST, "methods": [KD]}, (0.5, 2.0)),
        Entry("meta", "D", {"teachers": ALL, "methods": [KD], "weigher": "meta"}),
        Entry("broken", "B", {"teachers": BEST, "methods": [{"name": "attention"}]}),
    ),
    "plain",
    tuning=0.5,
    seeds=(0, 1),
    shows_weights=True,
)
SURVEY: dict[str, Any] = {
    "metric": "accuracy",
    "sha256": "x",
    "teachers": {
        "fair": {"valid": {"accuracy": 70.0}, "sha256": "f"},
        "good": {"valid": {"accuracy": 90.0}, "sha256": "g"},
        "missing": {"error": "no weights"},
    },
}


def test_a_suite_runs_records_failures_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    plan = Plan(tmp_path, tmp_path / "cache", tmp_path / "toy.json", registry=REGISTRY)
    report = Bench(SUITE, plan).run()

    assert json.loads(plan.out.read_text()) == json.loads(json.dumps(report))
    good = [run for run in report["runs"] if "error" not in run]
    assert [(run["title"], run["seed"]) for run in good] == [(t, s) for t in ("plain", "kd", "meta") for s in (0, 1)]
    failed = [run for run in report["runs"] if "error" in run]
    assert [run["title"] for run in failed] == ["broken", "broken"]
    assert "attention compares positions" in failed[0]["error"]
    assert "fetch-teachers" in report["tasks"]["toy"]["teachers"]["missing"]["error"]
    kd = [run for run in good if run["title"] == "kd"]
    trials = {trial["factor"]: trial["valid"] for trial in report["trials"] if trial["title"] == "kd"}
    assert set(trials) == {0.5, 2.0}
    assert trials[kd[0]["factor"]] == max(trials.values())
    assert kd[0]["recipe"]["teachers"] == ["good"]
    assert kd[0]["recipe"]["methods"][0]["weight"] == kd[0]["factor"]
    assert [run["seed"] for run in good if "recipe" in run] == [0, 0, 0], "others differ in their seed alone"
    assert {run["recipe"]["budget"]["steps"] for run in good if "recipe" in run} == {8}
    assert set(good[-1]["weights"]) == {"steps", "fair", "good"}
    assert "confusion" not in json.dumps(report)

    results = sorted((tmp_path / "cache").rglob("result.json"))
    assert len(results) == 6 + 2
    times = [path.stat().st_mtime_ns for path in results]
    results[0].unlink()
    again = Bench(SUITE, plan).run()
    assert [path.stat().st_mtime_ns == time for path, time in zip(results, times, strict=True)] == [False] + [True] * 7
    assert [run["metrics"] for run in again["runs"] if "error" not in run] == [run["metrics"] for run in good]

    page = tmp_path / "page"
    page.mkdir()
    (page / "toy.json").write_text(plan.out.read_text())
    text = render(page, page, {"toy": SUITE})
    assert "| A | kd |" in text
    assert "good (best single teacher)" in text
    assert "attention compares positions" in text
    assert {path.name for path in page.glob("*.svg")} == {"toy_toy.svg", "toy_toy_weights.svg"}
    assert text == render(page, None, {"toy": SUITE})


def test_the_time_limit_starts_nothing_new(tmp_path: Path) -> None:
    plan = Plan(tmp_path, tmp_path / "cache", tmp_path / "toy.json", minutes=1e-9, registry=REGISTRY)
    assert Bench(SUITE, plan).run()["runs"] == []


def test_other_tasks_of_the_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    other = {"task": "other", "title": "plain", "seed": 0, "error": "x"}
    path.write_text(json.dumps({"suite": "toy", "tasks": {"other": {}}, "runs": [other], "trials": []}))
    plan = Plan(tmp_path, tmp_path / "cache", path, minutes=1e-9, registry=REGISTRY)
    report = Bench(SUITE, plan).run()
    assert report["runs"] == [other]
    assert set(report["tasks"]) == {"other", "toy"}


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"suite toy has no task 'toi'; did you mean 'toy'\?"):
        Bench(SUITE, Plan(tmp_path, tmp_path, tmp_path, ("toi",)))


def test_a_dying_worker_is_replaced(tmp_path: Path) -> None:
    source = TaskSource("toy", tmp_path, REGISTRY)
    recipe = {"task": "toy", "budget": {"steps": 2, "batch": 32}}
    with Lanes(1) as lanes:
        assert lanes._call(_die) == {"error": "the worker process died"}
        (answer,) = [answer for _, answer in lanes.run([Job("plain", source, recipe, tmp_path / "run")])]
    assert answer["steps"] == 2


def _die() -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_placeholders_and_factors() -> None:
    kd = SUITE.entries[1]
    recipe = entry_recipe(SUITE, kd, "toy", SURVEY, seed=3, scale=0.5, factor=2.0)
    assert (recipe["teachers"], recipe["seed"], recipe["budget"]["steps"]) == (["good"], 3, 4)
    assert recipe["methods"] == [{"name": "kd", "weight": 2.0}]
    assert kd.recipe["methods"] == [KD]
    assert entry_recipe(SUITE, SUITE.entries[2], "toy", SURVEY, 0)["teachers"] == ["fair", "good"]
    assert available(("fair", "good", "missing"), SURVEY, without=("good",)) == ["fair"]
    assert best_teacher(["fair", "good"], SURVEY) == "good"


def test_a_factor_multiplies_what_the_entry_says_and_else_the_default() -> None:
    entry = Entry("rkd", "C", {"teachers": BEST, "methods": [{"name": "rkd", "angle_weight": 0.0}]})
    (method,) = entry_recipe(SUITE, entry, "toy", SURVEY, 0, factor=0.5)["methods"]
    assert method == {
        "name": "rkd",
        "angle_weight": 0.0,
        "distance_weight": METHODS["rkd"].Config().distance_weight / 2,
    }


def test_what_factors_multiply_are_options_of_the_methods() -> None:
    for name in METHODS:
        for option in SCALED.get(name, ("weight",)):
            assert isinstance(getattr(METHODS[name].Config(), option), float), f"{name}.{option}"
    assert set(SCALED) < set(METHODS)


def test_a_key_knows_defaults() -> None:
    options = resolved(entry_recipe(SUITE, SUITE.entries[1], "toy", SURVEY, 0))["options"]
    assert options[0]["temperature"] == METHODS["kd"].Config().temperature


def test_a_key_knows_nothing_of_what_a_recipe_leaves_out() -> None:
    """So that runs stay known when recipes learn a new setting."""
    recipe = entry_recipe(SUITE, SUITE.entries[1], "toy", SURVEY, 0)
    assert resolved(recipe).keys() == recipe.keys() | {"options"}


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_the_suites_are_recipes(suite: Suite) -> None:
    titles = [entry.title for entry in suite.entries]
    assert len(set(titles)) == len(titles)
    assert suite.control in titles
    for task, pool in suite.pools.items():
        teachers = {name: {"valid": {"accuracy": 1.0}, "sha256": name} for name in pool}
        survey = {"metric": "accuracy", "sha256": "x", "teachers": teachers}
        for entry in suite.entries_of(task):
            for factor in entry.factors or (1.0,):
                recipe_of(entry_recipe(suite, entry, task, survey, 0, factor=factor))


def test_the_unimodal_suite_has_every_method_of_a_to_d() -> None:
    wanted = [name for name, method in METHODS.items() if method.family in "ABCD"]
    wanted += [name for name in WEIGHERS if name != "uniform"] + list(STEPS)
    assert len(set(wanted)) == 21
    entries = {entry.title: entry for entry in SUITES["unimodal"].entries}
    assert set(wanted) <= set(entries)
    budgets = {frozenset(dataclasses.asdict(entry).get("recipe", {}).get("budget", {})) for entry in entries.values()}
    assert budgets == {frozenset()}
