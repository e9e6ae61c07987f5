"""The section on weights: of teachers, and of edges and hyperedges, by step and at the end."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.plots import plot_weights
from bench.report.tables import Content

Course = Mapping[str, Sequence[float]]
"""`steps`, and by source the mean weights there."""


def weight_section(runs: Sequence[Content], stem: str, plots: Path | None) -> Iterator[str]:
    """Yield the weights at the end, and their plot; nothing where no run weighs its sources unequally."""
    courses = courses_of(runs)
    if not courses:
        return
    if plots is not None:
        plot_weights(courses, plots / f"{stem}_weights.svg")
    edges = any("/" in name for run in runs for name in run.get("weights", {}))
    yield edge_table(courses) if edges else teacher_table(courses)
    yield f"![Mean weight of each {'edge and hyperedge' if edges else 'teacher'} by step](results/{stem}_weights.svg)\n"


def courses_of(runs: Sequence[Content]) -> dict[str, list[Course]]:
    """Return title -> mean weights of the sources by step, one a seed, of runs that weigh several of them unequally.

    What a method's sources weigh is called `method/source`, or `method/source>stream` where it weighs them for every
    stream of the student apart: their mean over streams is the source's.
    """
    courses: dict[str, list[Course]] = {}
    weighers = {run["title"]: run["recipe"]["weigher"]["name"] for run in runs if "recipe" in run}
    for run in runs:
        weights = run.get("weights", {})
        own = any(">" in name for name in weights)
        sources = _by_source(weights)
        if len(sources) > 1 and (own or weighers.get(run["title"]) != "uniform"):
            courses.setdefault(run["title"], []).append({"steps": weights["steps"], **sources})
    return courses


def _by_source(weights: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Leave out the method before "/", where it's one alone, and average over the streams after ">"."""
    names = [name for name in weights if name != "steps"]
    methods = {name.partition("/")[0] for name in names if "/" in name}
    columns: dict[str, list[Sequence[float]]] = {}
    for name in names:
        source = name.partition(">")[0]
        source = source.partition("/")[2] if len(methods) == 1 and "/" in source else source
        columns.setdefault(source, []).append(weights[name])
    return {
        source: [statistics.fmean(values) for values in zip(*found, strict=True)] for source, found in columns.items()
    }


def teacher_table(courses: Mapping[str, Sequence[Course]]) -> str:
    """Return the mean weights since the last but one evaluation, over seeds: one row a title."""
    teachers = [name for name in next(iter(courses.values()))[0] if name != "steps"]
    lines = ["| weights at the end | " + " | ".join(teachers) + " |", "|---" * (len(teachers) + 1) + "|"]
    for title, runs in courses.items():
        lines.append(f"| {title} | " + " | ".join(f"{_at_end(runs, name):.3f}" for name in teachers) + " |")
    return "\n".join([*lines, ""])


def edge_table(courses: Mapping[str, Sequence[Course]]) -> str:
    """Return the same the other way round, one row a source: edges are many, and not the same of every title."""
    sources = dict.fromkeys(name for runs in courses.values() for name in runs[0] if name != "steps")
    lines = ["| weights at the end | " + " | ".join(courses) + " |", "|---" * (len(courses) + 1) + "|"]
    for name in sources:
        cells = (f"{_at_end(runs, name):.3f}" if name in runs[0] else "" for runs in courses.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _at_end(runs: Sequence[Course], source: str) -> float:
    return statistics.fmean(run[source][-1] for run in runs)
