"""A suite's JSON for tests of the report: drawn numbers in the form that `bench` writes."""

from typing import Any

import numpy as np

from bench.suite import Entry, Suite

SEEDS = 4
SUBSETS = ("a--", "--t", "a-t")
RATES = tuple(f"{tenth / 10:.1f}" for tenth in range(10))
TITLES = ("plain, 0", "plain, 2", "plain, all", "kd, 0", "kd, all")
SUITE = Suite(
    "talk",
    "Talk",
    "Does it help?",
    {"talk": ("good", "fair")},
    {"talk": {"epochs": 2}},
    (
        Entry("plain, 0", line="plain", lookahead=0),
        Entry("plain, 2", line="plain", lookahead=2),
        Entry("plain, all", line="plain"),
        Entry("kd, 0", "A", line="kd", lookahead=0),
        Entry("kd, all", "A", line="kd"),
    ),
    "plain, 0",
    seeds=tuple(range(SEEDS)),
    shows_weights=True,
    base={"predictions": True},
    trial_seeds=2,
    tests=True,
    pairs=(("kd, 0", "plain, all"),),
)


def drawn() -> dict[str, Any]:
    """Return the JSON; same numbers each time."""
    rng = np.random.default_rng(0)
    teachers = {
        name: {split: {"accuracy": value, "macro_f1": value} for split in ("valid", "test")}
        for name, value in (("good", 90.0), ("fair", 80.0))
    }
    survey = {
        "metric": "accuracy",
        "teachers": teachers,
        "samples": {"test": 752, "units": 31, "majority": 400},
    }
    runs = [_run(rng, title, seed) for title in TITLES for seed in range(SEEDS)]
    return {
        "suite": "talk",
        "command": "python -m bench run talk",
        "tasks": {"talk": survey},
        "runs": runs,
        "trials": [{"task": "talk"}],
        "comparisons": [
            _test("plain, 2", "plain, 0", 1.0, -0.5, 2.5, 0.2),
            _test("plain, all", "plain, 0", 2.0, 0.5, 3.5, 0.013),
            _test("kd, 0", "plain, 0", 1.5, 0.9, 2.1, 0.0002),
            _test("kd, all", "plain, 0", -3.0, -4.0, -2.0, 0.0004),
            _test("kd, 0", "plain, all", -0.5, -2.0, 1.0, 0.6),
        ],
    }


def _run(rng: np.random.Generator, title: str, seed: int) -> dict[str, Any]:
    def measures() -> dict[str, float]:
        return {"accuracy": float(rng.uniform(60, 90)), "macro_f1": 60.0, "weighted_f1": float(rng.uniform(60, 90))}

    scores = {name: float(rng.uniform(0, 1)) for name in ("acc2_has0", "acc2_non0", "acc7", "mae", "pearson")}
    recipe = {"recipe": {"weigher": {"name": "meta"}}} if seed == 0 else {}
    return {
        "task": "talk",
        "title": title,
        "family": "",
        "seed": seed,
        "factor": 1.0,
        "metrics": {
            "valid": measures(),
            "test": {**measures(), "ece": 0.1, **scores},
            "subsets": {subset: measures() for subset in SUBSETS},
            "dropout": {rate: measures() for rate in RATES},
        },
        "student": {"parameters": 1000 * len(title), "cpu_ms": 0.5},
        "seconds": {"loading": 1.0, "computing": 2.0},
        "weights": {"steps": [1, 2], "hypergraph/text": [0.5, 0.25 + seed / 100], "hypergraph/all": [0.5, 0.75]},
        **recipe,
    }


def _test(title: str, against: str, mean: float, low: float, high: float, p: float) -> dict[str, Any]:
    about = {"task": "talk", "title": title, "against": against, "metric": "accuracy", "seeds": SEEDS}
    return {**about, "mean": mean, "low": low, "high": high, "p": p}
