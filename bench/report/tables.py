"""Tables of a task: its teachers, its runs, their scores, and who beats the control in every seed."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bench.compare import Summary, gains
from bench.entries import available, best_teacher, teachers_used
from bench.suite import Suite
from training.engine.metrics import LOWER_IS_BETTER

Content = Mapping[str, Any]
Column = tuple[str, Callable[[Summary], str]]
"""Heading, and the cell of a row."""
_SCORES: Final = {
    "weighted_f1": ("weighted F1", 1),
    "acc2_has0": ("Acc2, 0 is positive", 1),
    "acc2_non0": ("Acc2, without 0", 1),
    "acc7": ("Acc7", 1),
    "mae": ("MAE", 3),
    "pearson": ("Pearson", 3),
}
"""Metric -> heading, and decimals."""


def rows_of(columns: Sequence[Column], summaries: Sequence[Summary]) -> str:
    """Return a table in Markdown, one row a summary."""
    lines = ["| " + " | ".join(heading for heading, _ in columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(cell(summary) for _, cell in columns) + " |" for summary in summaries]
    return "\n".join([*lines, ""])


def teacher_table(suite: Suite, task: str, survey: Content) -> str:
    """Return what the teachers score."""
    metric = survey["metric"]
    lines = [f"| teacher | valid {metric} | test {metric} | test macro F1 |", "|---|---|---|---|"]
    there = available(suite.pools[task], survey)
    used = teachers_used(suite, there)
    best = best_teacher(used, survey) if used else ""
    for name in there:
        valid, test = survey["teachers"][name]["valid"], survey["teachers"][name]["test"]
        title = f"{name} (best single teacher)" if name == best else name
        numbers = f"{valid[metric]:.1f} | {test[metric]:.1f} | {test.get('macro_f1', float('nan')):.1f}"
        lines.append(f"| {title} | {numbers} |")
    lines += [f"| {name} | | | {said['error']} |" for name, said in survey["teachers"].items() if "error" in said]
    return "\n".join([*lines, ""])


def main_table(
    suite: Suite, runs: Sequence[Content], summaries: Sequence[Summary], metric: str, tests: Sequence[Content]
) -> str:
    """Return one row an entry; with tests, their differences in the place of gains by seed."""
    factors = {run["title"]: run["factor"] for run in runs}
    families = {run["title"]: run["family"] for run in runs}
    columns: list[Column] = [
        ("family", lambda summary: families[summary.title]),
        ("run", lambda summary: summary.title),
        ("weight x", lambda summary: f"{factors[summary.title]:g}"),
        ("seeds", lambda summary: str(len(summary.rows))),
        (f"valid {metric}", lambda summary: f"{summary.mean(metric, 'valid'):.1f}"),
        (f"test {metric}", lambda summary: spread(summary, metric)),
        ("test macro F1", lambda summary: spread(summary, "macro_f1")),
        ("ECE", lambda summary: f"{summary.mean('ece'):.3f}"),
    ]
    columns += compared_columns(suite, summaries, tests, metric)
    first = summaries[0]
    differ = any(summary.parameters != first.parameters for summary in summaries)
    if differ:
        columns += [
            ("parameters", lambda summary: f"{summary.parameters:,}"),
            ("CPU ms", lambda summary: f"{summary.cpu_ms:.2f}"),
        ]
    columns.append(("train s", lambda summary: f"{summary.seconds:.0f}"))
    below = (
        "CPU ms: of one sample on one thread."
        if differ
        else (f"Student: {first.parameters:,} parameters, {first.cpu_ms:.1f} ms a sample on one CPU thread.")
    )
    return f"{rows_of(columns, summaries)}\n{below}\n"


def score_table(summaries: Sequence[Summary]) -> str:
    """Return what is measured of scores; nothing where there are none."""
    if not any(summary.values("mae") for summary in summaries):
        return ""
    columns: list[Column] = [("run", lambda summary: summary.title)]
    for metric, (heading, digits) in _SCORES.items():
        columns.append(_score_column(metric, heading, digits))
    return f"{rows_of(columns, summaries)}\nMAE: of scores in [-1, 1]; three times as much on the scale of -3 to 3.\n"


def verdict(suite: Suite, summaries: Sequence[Summary], metric: str) -> str:
    """Return which runs beat the control in every seed, which lose in every seed, and which do neither."""
    control = control_of(suite, summaries)
    if control is None:
        return ""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    groups: dict[str, list[tuple[float, str]]] = {
        f"Better than *{suite.control}* in every seed": [],
        "Worse in every seed": [],
        "Neither": [],
    }
    better, worse, undecided = groups.values()
    for summary in summaries:
        differences = [sign * gain for gain in gains(summary, control, metric)]
        if summary is control or not differences:
            continue
        low, high = min(differences), max(differences)
        group = better if low > 0 else worse if high < 0 else undecided
        group.append((statistics.fmean(differences), summary.title))
    return listed(groups)


def listed(groups: Mapping[str, Sequence[tuple[float, str]]]) -> str:
    """Return a list of groups, each with its titles by what they gain, most first."""
    lines = []
    for text, group in groups.items():
        names = ", ".join(f"{title} ({gain:+.1f})" for gain, title in sorted(group, reverse=True))
        lines.append(f"- {text}: {names or 'none'}.")
    return "\n".join([*lines, ""])


def control_of(suite: Suite, summaries: Sequence[Summary]) -> Summary | None:
    """Return the entry that the others are compared with; None where it has no run."""
    return next((summary for summary in summaries if summary.title == suite.control), None)


def spread(summary: Summary, metric: str, digits: int = 1) -> str:
    """Return mean and deviation; NaN without a run that has the metric."""
    deviation = summary.deviation(metric)
    return f"{summary.mean(metric):.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation == deviation else "")


def _score_column(metric: str, heading: str, digits: int) -> Column:
    return heading, lambda summary: spread(summary, metric, digits)


def compared_columns(suite: Suite, summaries: Sequence[Summary], tests: Sequence[Content], metric: str) -> list[Column]:
    """Return how an entry differs from the control: by the tests, or without any what it gains with the same seed."""
    return _tested(suite, tests) if tests else _gains(control_of(suite, summaries), metric)


def _gains(control: Summary | None, metric: str) -> list[Column]:
    """The mean gain, and how often it's above 0."""

    def differences(summary: Summary) -> list[float]:
        return gains(summary, control, metric) if control is not None and summary is not control else []

    def mean(summary: Summary) -> str:
        return f"{statistics.fmean(found):+.1f}" if (found := differences(summary)) else ""

    def above(summary: Summary) -> str:
        found = differences(summary)
        return f"{sum(difference > 0 for difference in found)} of {len(found)}" if found else ""

    return [("gain", mean), ("above 0", above)]


def _tested(suite: Suite, tests: Sequence[Content]) -> list[Column]:
    by_title = {test["title"]: test for test in tests if test["against"] == suite.control}

    def cell(text: Callable[[Content], str]) -> Callable[[Summary], str]:
        return lambda summary: text(by_title[summary.title]) if summary.title in by_title else ""

    return [
        ("difference", cell(difference)),
        ("95 % interval", cell(interval)),
        ("p", cell(lambda test: f"{test['p']:.4f}")),
        ("", cell(lambda test: "noise" if is_noise(test) else "")),
    ]


def difference(test: Content) -> str:
    """Return the mean difference of a comparison."""
    return f"{test['mean']:+.2f}"


def interval(test: Content) -> str:
    """Return its 95 % interval."""
    return f"{test['low']:+.2f} to {test['high']:+.2f}"


def is_noise(test: Content) -> bool:
    """Whether the interval contains 0."""
    return bool(test["low"] <= 0 <= test["high"])
