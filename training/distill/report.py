"""Renders docs/results.md and its plots from the committed JSONs. Pure: the same JSONs give the same page."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.distill.compare import Summary, gains, row_of, summarise
from training.distill.entries import available, best_teacher
from training.distill.metrics import LOWER_IS_BETTER
from training.distill.plots import plot_cost, plot_methods, plot_weights
from training.distill.suite import Suite
from training.distill.suites import SUITES

Content = Mapping[str, Any]
STUDENTS = "m1_students.json"
_HEAD = """# Results

Made by `python -m training report` from the JSON files in [results/](results/); don't edit.
"""
_PROTOCOL = """Protocol: speakers are disjoint where they are known; one checkpoint a run, chosen on validation; test
touched once a run; mean and sample standard deviation over seeds. All runs of a task make the same number of optimiser
steps. The weight of a method, as a factor of its default, was chosen on validation with the first seed and {tuning} of
the steps. "Gain" is the difference to *{control}* with the same seed: its mean, and in how many seeds it is above 0. No
significance is claimed from so few seeds.
"""


def write_page(results: Path, page: Path) -> None:
    """Write the page, and the plots beside the JSONs."""
    text = render(results, results)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)


def render(results: Path, plots: Path | None = None, suites: Mapping[str, Suite] = SUITES) -> str:
    """Return the page's text; with `plots`, draw the plots into that folder."""
    parts = [_HEAD]
    students = results / STUDENTS
    if students.is_file():
        parts.append(_students(json.loads(students.read_text())))
    for name, suite in suites.items():
        path = results / f"{name}.json"
        if path.is_file():
            parts += _suite(suite, json.loads(path.read_text()), plots)
    return "\n".join(parts)


def _students(content: Content) -> str:
    """The served students."""
    lines = ["## The served students", "", "| student | parameters | measured on | result |", "|---|---|---|---|"]
    for name, student in content["students"].items():
        for split, metrics in student["metrics"].items():
            numbers = ", ".join(f"{key} {value:g}" for key, value in metrics.items())
            lines.append(f"| {name} | {student['parameters']:,} | {split} | {numbers} |")
    return "\n".join([*lines, "", f"Measured by `{content['command']}`, {content['measured']}; one seed.", ""])


def _suite(suite: Suite, content: Content, plots: Path | None) -> Iterator[str]:
    yield f"## {suite.title}\n\n{suite.question} Made by `{content['command']}`.\n"
    yield _PROTOCOL.format(control=suite.control, tuning=f"{suite.tuning:.0%}")
    failed = [run for run in content["runs"] if "error" in run]
    if len(content["tasks"]) > 1:
        yield _cost_plot(suite, content, plots)
    for task, survey in content["tasks"].items():
        runs = [run for run in content["runs"] if run["task"] == task and "error" not in run]
        if not runs:
            continue
        summaries = summarise(row_of(run) for run in runs)
        yield f"### {suite.name}: {task}\n"
        yield _teachers(suite, task, survey)
        yield _table(suite, runs, summaries, survey["metric"])
        yield _verdict(suite, summaries, survey["metric"])
        yield from _plots(suite, task, runs, summaries, survey, plots)
    if failed:
        yield "Runs that failed:\n"
        yield "\n".join(f"- {run['task']}, {run['title']}, seed {run['seed']}: {run['error']}" for run in failed) + "\n"


def _teachers(suite: Suite, task: str, survey: Content) -> str:
    metric = survey["metric"]
    lines = [f"| teacher | valid {metric} | test {metric} | test macro F1 |", "|---|---|---|---|"]
    there = available(suite.pools[task], survey)
    best = best_teacher(there, survey) if there else ""
    for name in there:
        valid, test = survey["teachers"][name]["valid"], survey["teachers"][name]["test"]
        title = f"{name} (best single teacher)" if name == best else name
        numbers = f"{valid[metric]:.1f} | {test[metric]:.1f} | {test.get('macro_f1', float('nan')):.1f}"
        lines.append(f"| {title} | {numbers} |")
    lines += [f"| {name} | | | {said['error']} |" for name, said in survey["teachers"].items() if "error" in said]
    return "\n".join([*lines, ""])


def _table(suite: Suite, runs: Sequence[Content], summaries: Sequence[Summary], metric: str) -> str:
    control = _control(suite, summaries)
    factors = {run["title"]: run["factor"] for run in runs}
    families = {run["title"]: run["family"] for run in runs}
    lines = [
        f"| family | run | weight x | seeds | valid {metric} | test {metric} | test macro F1 | ECE | gain | above 0 "
        "| train s |",
        "|---" * 11 + "|",
    ]
    for summary in summaries:
        cells = [
            families[summary.title],
            summary.title,
            f"{factors[summary.title]:g}",
            str(len(summary.rows)),
            f"{summary.mean(metric, 'valid'):.1f}",
            _spread(summary, metric),
            _spread(summary, "macro_f1"),
            f"{summary.mean('ece'):.3f}",
            *_gain(summary, control, metric),
            f"{summary.seconds:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    first = summaries[0]
    lines += ["", f"Student: {first.parameters:,} parameters, {first.cpu_ms:.1f} ms a sample on one CPU thread.", ""]
    return "\n".join(lines)


def _verdict(suite: Suite, summaries: Sequence[Summary], metric: str) -> str:
    """Which runs beat the control in every seed, which lose in every seed, and which do neither."""
    control = _control(suite, summaries)
    if control is None:
        return ""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    groups: dict[str, list[tuple[float, str]]] = {"better": [], "worse": [], "undecided": []}
    for summary in summaries:
        differences = [sign * gain for gain in gains(summary, control, metric)]
        if summary is control or not differences:
            continue
        low, high = min(differences), max(differences)
        kind = "better" if low > 0 else "worse" if high < 0 else "undecided"
        groups[kind].append((statistics.fmean(differences), summary.title))
    texts = {
        "better": f"Better than *{suite.control}* in every seed",
        "worse": "Worse in every seed",
        "undecided": "Neither",
    }
    lines = []
    for kind, text in texts.items():
        names = ", ".join(f"{title} ({gain:+.1f})" for gain, title in sorted(groups[kind], reverse=True))
        lines.append(f"- {text}: {names or 'none'}.")
    return "\n".join([*lines, ""])


def _plots(
    suite: Suite, task: str, runs: Sequence[Content], summaries: Sequence[Summary], survey: Content, plots: Path | None
) -> Iterator[str]:
    metric, stem = survey["metric"], f"{suite.name}_{task}"
    there = available(suite.pools[task], survey)
    teacher = survey["teachers"][best_teacher(there, survey)]["test"][metric] if there else float("nan")
    if plots is not None:
        plot_methods(summaries, suite.control, teacher, metric, plots / f"{stem}.svg")
    yield f"![{metric} of every run](results/{stem}.svg)\n"
    courses = _courses(runs)
    if suite.shows_weights and courses:
        if plots is not None:
            plot_weights(courses, plots / f"{stem}_weights.svg")
        yield _final_weights(courses)
        yield f"![Mean weight of each teacher by step](results/{stem}_weights.svg)\n"


def _cost_plot(suite: Suite, content: Content, plots: Path | None) -> str:
    """The control, and the run that was best on validation, of every task."""
    chosen: list[Summary] = []
    for task, survey in content["tasks"].items():
        runs = [row_of(run) for run in content["runs"] if run["task"] == task and "error" not in run]
        summaries = summarise(runs)
        sign = -1.0 if survey["metric"] in LOWER_IS_BETTER else 1.0
        ordered = sorted(summaries, key=lambda summary: sign * summary.mean(survey["metric"], "valid"))
        chosen += [summary for summary in ordered if summary.title == suite.control or summary is ordered[-1]]
    if plots is not None and chosen:
        plot_cost(chosen, "accuracy", plots / f"{suite.name}_cost.svg")
    return f"![Accuracy against milliseconds and parameters](results/{suite.name}_cost.svg)\n"


def _courses(runs: Sequence[Content]) -> dict[str, list[dict[str, list[float]]]]:
    """Title -> mean weights of the teachers by step, one a seed, of runs that weigh several teachers unequally."""
    courses: dict[str, list[dict[str, list[float]]]] = {}
    weighers = {run["title"]: run["recipe"]["weigher"]["name"] for run in runs if "recipe" in run}
    for run in runs:
        weights = run.get("weights", {})
        teachers = [name for name in weights if name != "steps" and "/" not in name]
        if len(teachers) > 1 and weighers.get(run["title"]) != "uniform":
            courses.setdefault(run["title"], []).append({name: weights[name] for name in ["steps", *teachers]})
    return courses


def _final_weights(courses: Mapping[str, Sequence[Mapping[str, Sequence[float]]]]) -> str:
    """The mean weights since the last but one evaluation, over seeds."""
    teachers = [name for name in next(iter(courses.values()))[0] if name != "steps"]
    lines = ["| weights at the end | " + " | ".join(teachers) + " |", "|---" * (len(teachers) + 1) + "|"]
    for title, runs in courses.items():
        means = (statistics.fmean(run[name][-1] for run in runs) for name in teachers)
        lines.append(f"| {title} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join([*lines, ""])


def _control(suite: Suite, summaries: Sequence[Summary]) -> Summary | None:
    return next((summary for summary in summaries if summary.title == suite.control), None)


def _gain(summary: Summary, control: Summary | None, metric: str) -> tuple[str, str]:
    differences = gains(summary, control, metric) if control is not None and summary is not control else []
    if not differences:
        return "", ""
    above = sum(difference > 0 for difference in differences)
    return f"{statistics.fmean(differences):+.1f}", f"{above} of {len(differences)}"


def _spread(summary: Summary, metric: str) -> str:
    deviation = summary.deviation(metric)
    return f"{summary.mean(metric):.1f}" + (f" ± {deviation:.1f}" if deviation == deviation else "")
