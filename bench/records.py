"""What a suite's JSON keeps of a run, small enough to be committed: numbers that pages show, and no bulk. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from bench.jobs import Answer, Job
from bench.suite import Entry, Suite
from training.engine.metrics import chosen_by
from training.engine.result import Report

_COURSES: Final = 5
"""Seeds whose courses of weights are kept."""
_KEPT: Final = ("metrics", "chosen_step", "steps", "stopped", "student", "seconds", "shares", "peak_memory_mib")
_OF_SUBSETS: Final = ("accuracy", "macro_f1")
"""What is kept of every subset and rate."""


def run_record(suite: Suite, entry: Entry, job: Job, factor: float, answer: Answer) -> Report:
    """Return one run as the suite's JSON keeps it.

    The recipe goes with the first seed alone, as others differ in nothing but the seed; courses of weights with the
    first few, of suites that show them.
    """
    seed = job.recipe["seed"]
    record = {"task": job.source.name, "title": entry.title, "family": entry.family, "seed": seed, "factor": factor}
    if "error" in answer:
        return {**record, "error": answer["error"], "recipe": job.recipe}
    record |= without_bulk({name: answer[name] for name in _KEPT})
    if seed == suite.seeds[0]:
        record["recipe"] = without_bulk(answer["recipe"])
    if suite.shows_weights and seed in suite.seeds[:_COURSES]:
        record["weights"] = answer["weights"]
    return record


def trial_record(record: Report, metric: str) -> Report:
    """Return a trial as the suite's JSON keeps it, from its record as a run."""
    kept: Report = {name: record[name] for name in ("task", "title", "factor", "error") if name in record}
    return kept if "error" in record else {**kept, "valid": round(chosen_by(metric, record["metrics"]["valid"]), 4)}


def without_bulk(value: Any) -> Any:
    """Leave confusion matrices out, of subsets and rates all but what pages show, and round."""
    if isinstance(value, Mapping):
        return {
            name: _brief(item) if name in ("subsets", "dropout") and isinstance(item, Mapping) else without_bulk(item)
            for name, item in value.items()
            if name != "confusion"
        }
    return round(value, 4) if isinstance(value, float) else value


def _brief(by_subset: Mapping[str, Mapping[str, Any]]) -> Report:
    return {
        subset: {name: round(measures[name], 2) for name in _OF_SUBSETS if name in measures}
        for subset, measures in by_subset.items()
    }
