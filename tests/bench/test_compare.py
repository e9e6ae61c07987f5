"""Comparisons against NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.compare import Row, gains, read_rows, summarise
from bench.plots import plot_cost, plot_methods, plot_weights
from tests.training.engine.toy import ToyTask
from training.engine.recipe import recipe_of
from training.engine.tables import RecipeError
from training.engine.trainer import distil

RNG = np.random.default_rng(0)
ROWS = [
    Row(task, title, seed, {"accuracy": float(RNG.uniform(50, 80))}, {"accuracy": 1.0 * seed}, 1000, 2.0 + seed, 3.0)
    for task in ("one", "two")
    for title in ("plain", "kd")
    for seed in range(4)
]


def test_mean_and_deviation_are_numpys() -> None:
    summaries = summarise(reversed(ROWS))
    assert len(summaries) == 4
    for summary in summaries:
        values = [row.test["accuracy"] for row in ROWS if (row.task, row.title) == (summary.task, summary.title)]
        assert summary.mean("accuracy") == pytest.approx(np.mean(values))
        assert summary.deviation("accuracy") == pytest.approx(np.std(values, ddof=1))
        assert summary.mean("accuracy", "valid") == 1.5
        assert summary.cpu_ms == 3.5


def test_gains_are_paired_by_seed() -> None:
    plain, kd = summarise(ROWS)[:2]
    values = np.array([row.test["accuracy"] for row in ROWS[:8]])
    assert gains(kd, plain, "accuracy") == pytest.approx(values[4:] - values[:4])
    (lonely,) = summarise([Row("one", "kd", 9, {"accuracy": 1.0})])
    assert gains(lonely, plain, "accuracy") == []


def test_what_is_not_there_is_nan() -> None:
    (summary,) = summarise(ROWS[:1])
    assert np.isnan(summary.deviation("accuracy"))
    assert np.isnan(summary.mean("mae"))


def test_results_are_found_in_folders_and_suites(tmp_path: Path) -> None:
    for seed in range(2):
        recipe = recipe_of({"task": "toy", "budget": {"steps": 2, "batch": 32}, "seed": seed})
        report = distil(recipe, ToyTask(), tmp_path / f"run-{seed}")
    (tmp_path / "suite.json").write_text(json.dumps({"suite": "x", "runs": [report, {**report, "error": "broken"}]}))
    rows = read_rows([tmp_path, tmp_path / "suite.json"])
    assert sorted(row.seed for row in rows) == [0, 1, 1]
    assert (
        rows[0].test["accuracy"]
        == json.loads((tmp_path / "run-0/result.json").read_text())["metrics"]["test"]["accuracy"]
    )
    assert "confusion" not in rows[0].test


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(RecipeError, match="is no result"):
        read_rows([tmp_path / "x.json"])
    with pytest.raises(RecipeError, match=r"there is no result\.json"):
        read_rows([tmp_path])


def test_plots_depend_on_the_numbers_alone(tmp_path: Path) -> None:
    summaries = summarise(ROWS)
    courses = {"meta": [{"steps": [1, 2], "good": [0.5, 0.8], "bad": [0.5, 0.2]}]}
    for name in ("a", "b"):
        plot_cost(summaries, "accuracy", tmp_path / name / "cost.svg")
        plot_methods(summaries[:2], "plain", 70.0, "accuracy", tmp_path / name / "methods.svg")
        plot_weights(courses, tmp_path / name / "weights.svg")
    for plot in ("cost.svg", "methods.svg", "weights.svg"):
        drawn = (tmp_path / "a" / plot).read_bytes()
        assert drawn == (tmp_path / "b" / plot).read_bytes()
        assert b"<svg" in drawn[:600]
