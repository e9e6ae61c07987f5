"""A whole suite on the toy conversations: run, found again, compared, and rendered."""

import os
import signal
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import results
from bench.report import render, write_pages
from bench.runs import Bench, Plan, key_of
from bench.statistics import paired_bootstrap
from bench.suite import suite_of
from bench.workers import Job, TaskSource, Workers
from tests.training.engine.toy import REGISTRY
from training.engine.tables import RecipeError

SUITE = suite_of(
    "talk",
    tomllib.loads("""
title = "Talk"
question = "Do they differ?"
control = "plain"
seeds = 2
pairs = [["kd", "masked"]]
shows_weights = true
recipe = { subsets = true }

[search]
trials = 3
seeds = 1
part = 0.5
knobs.kd = { weight = { low = 0.3, high = 30.0 } }

[tasks.talk]
teachers = ["fair", "good", "missing"]
budget = { steps = 8, batch = 8, evaluations = 2 }
note = "Drawn."

[[entries]]
title = "plain"

[[entries]]
title = "kd"
family = "A"
recipe = { teachers = "BEST", methods = "kd" }

[[entries]]
title = "masked"
recipe = { modality_dropout = 0.3 }

[[entries]]
title = "entropy"
family = "D"
recipe = { teachers = "ALL", methods = [{ name = "score" }], weigher = "entropy" }

[[entries]]
title = "broken"
family = "B"
recipe = { teachers = "BEST", methods = [{ name = "attention", layers = [["h2", "h2"]] }] }
"""),
)
Ran = tuple[Bench, results.Results, Path]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("talk")
    bench = Bench(SUITE, Plan(folder, folder / "cache", folder / "results", registry=REGISTRY))
    return bench, bench.run(), folder


def folder_of(bench: Bench, title: str, seed: int) -> Path:
    (entry,) = [entry for entry in SUITE.entries if entry.title == title]
    return bench._job("talk", entry, seed, bench.chosen("talk", entry)).folder


def test_a_row_a_run_trial_and_teacher(ran: Ran) -> None:
    bench, found, _ = ran
    runs = found.runs[found.runs["kind"] == "run"]
    good = runs[runs["error"].isna()]
    assert sorted(set(good["title"])) == ["entropy", "kd", "masked", "plain"]
    assert set(good.groupby("title").size()) == {2}
    assert all("h2" in error for error in runs[runs["title"] == "broken"]["error"])
    teachers = found.runs[found.runs["kind"] == "teacher"].set_index("title")
    assert "fetch-teachers" in teachers.loc["missing", "error"]
    trials = found.runs[(found.runs["kind"] == "trial") & (found.runs["title"] == "kd")]
    assert len(trials) == 3, "equal trials"
    best = trials.loc[trials["valid"].idxmax(), "knobs"]
    assert set(good[good["title"] == "kd"]["knobs"]) == {best}
    job = bench._job("talk", SUITE.entries[1], 0, bench.chosen("talk", SUITE.entries[1]))
    assert job.recipe["teachers"] == ["good"], "the best on validation"
    assert (good["scaled_ece"] >= 0).all()
    weights = [results.read_spelled(cell) for cell in good[good["title"] == "entropy"]["weights"]]
    assert all(sum(float(share) for share in one.values()) == pytest.approx(1, abs=0.01) for one in weights)


def test_entries_are_compared_over_their_seeds(ran: Ran) -> None:
    bench, found, _ = ran
    tests = found.tests[found.tests["metric"] == "accuracy"].set_index(["title", "against"])
    assert list(tests.index) == [("kd", "plain"), ("masked", "plain"), ("entropy", "plain"), ("kd", "masked")]
    sides: list[Any] = []
    for title in ("kd", "masked"):
        kept = [np.load(folder_of(bench, title, seed) / "predictions.npz") for seed in (0, 1)]
        sides.append([one["logits"].argmax(1) == one["target"] for one in kept])
    again = paired_bootstrap(*sides, kept[0]["unit"])
    row = tests.loc[("kd", "masked")]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((again.mean, again.low, again.high), abs=0.01)
    on_subsets = found.tests[found.tests["metric"] == "subset_accuracy"].set_index("title").loc["masked", "mean"]
    runs = found.runs[found.runs["kind"] == "run"].set_index("title")
    means = runs[[name for name in runs if name.startswith("on ")]].mean(axis=1).groupby("title").mean()
    assert on_subsets == pytest.approx(means["masked"] - means["plain"], abs=0.02)


def test_what_is_there_is_not_run_again_and_other_tasks_stay(ran: Ran) -> None:
    bench, found, folder = ran
    kept = results.read(folder / "results", "talk")
    assert len(kept.runs) == len(found.runs)
    times = {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("result.json")}
    other = results.Results(
        results.frame([{"kind": "run", "task": "other", "title": "plain", "seed": 0, "valid": 1.0, "accuracy": 1.0}]),
        results.frame([]),
        results.frame([{"suite": "talk", "task": "other", "metric": "accuracy"}]),
    )
    results.write(folder / "results", "talk", other)
    Bench(SUITE, bench.plan).run()
    assert {path: path.stat().st_mtime_ns for path in times} == times
    again = results.read(folder / "results", "talk")
    assert (len(again.runs), set(again.tasks["task"])) == (len(found.runs) + 1, {"talk", "other"})


def test_pages_are_what_the_tables_say(ran: Ran, tmp_path: Path) -> None:
    found = ran[1]
    results.write(tmp_path / "results", "talk", found)
    write_pages(tmp_path / "results", tmp_path, {"talk": SUITE})
    page = (tmp_path / "suites/talk.md").read_text()
    assert page == render(tmp_path / "results", {"talk": SUITE})["suites/talk.md"]
    assert (tmp_path / "suites/talk.png").is_file()
    runs = found.runs[(found.runs["kind"] == "run") & (found.runs["title"] == "plain")]
    assert f"{runs['accuracy'].mean():.1f} ± {runs['accuracy'].std():.1f}" in page
    assert "broken, seed 0:" in page
    assert "[talk](suites/talk.md)" in (tmp_path / "results.md").read_text()


def test_rows_whose_search_says_nothing_are_not_ranked(ran: Ran, tmp_path: Path) -> None:
    found = ran[1]
    tied = found.runs.assign(valid=found.runs["valid"].where(found.runs["kind"] != "trial", 50.0))
    results.write(tmp_path, "talk", replace(found, runs=tied))
    page = render(tmp_path, {"talk": SUITE})["suites/talk.md"]
    assert "- kd: its trials are tied" in page
    assert "| A | kd |" not in page
    assert "| A | kd |" in render(ran[2] / "results", {"talk": SUITE})["suites/talk.md"]


def test_a_key_knows_defaults_data_teachers_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    survey = {"sha256": "x", "teachers": {"good": {"sha256": "g"}}}
    recipe = SUITE.recipe_for(SUITE.entries[1], "talk", ["good"], 0)
    key = key_of(recipe, survey)
    assert key == key_of(recipe, survey)
    others = [
        key_of({**recipe, "seed": 1}, survey),
        key_of(recipe, {**survey, "sha256": "y"}),
        key_of(recipe, {"sha256": "x", "teachers": {"good": {"sha256": "h"}}}),
    ]
    monkeypatch.setattr("bench.runs.loop_code", lambda: "changed")
    assert len({key, *others, key_of(recipe, survey)}) == 5


def test_the_time_limit_starts_nothing_new(tmp_path: Path) -> None:
    plan = Plan(tmp_path, tmp_path / "cache", tmp_path / "out", minutes=1e-9, registry=REGISTRY)
    assert set(Bench(SUITE, plan).run().runs["kind"]) == {"teacher"}


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"suite talk has no task 'tolk'; did you mean 'talk'\?"):
        Bench(SUITE, Plan(tmp_path, tmp_path, tmp_path, ("tolk",)))


def test_a_dying_worker_is_replaced(tmp_path: Path) -> None:
    source = TaskSource("toy", tmp_path, REGISTRY)
    recipe = {"task": "toy", "budget": {"steps": 2, "batch": 32}}
    with Workers(1) as workers:
        assert workers._call(_die) == {"error": "the worker process died"}
        (answer,) = [answer for _, answer in workers.run([Job("plain", source, recipe, tmp_path / "run")])]
    assert answer["steps"] == 2


def _die() -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}
