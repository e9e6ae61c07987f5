"""The section on students that lack modalities: accuracy on every subset of them, and by the rate at which they are
missing.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.compare import Row, Summary, summarise
from bench.comparisons import LOST, SUBSETS
from bench.plots import Level, plot_lines
from bench.report.significance import pair_table
from bench.report.tables import (
    Column,
    Content,
    compared_columns,
    difference,
    interval,
    is_noise,
    rows_of,
    spread,
)
from bench.suite import Suite

MEAN = "mean"
_MISSED = "lost"
_LINES = 12
"""More lines than these in one plot can't be told apart."""
_NUMBERS = {3: "three", 7: "seven"}


def subset_section(
    suite: Suite,
    runs: Sequence[Content],
    tests: Mapping[str, Sequence[Content]],
    survey: Content,
    stem: str,
    plots: Path | None,
) -> Iterator[str]:
    """Yield the table of subsets, its pairs and the plot of rates; nothing of what no run measured.

    `tests`: by metric, of `SUBSETS` and `LOST` (bench/comparisons.py).
    """
    summaries = summarise(subset_row(run, run["metrics"]["subsets"]) for run in runs if "subsets" in run["metrics"])
    if summaries:
        yield subset_table(suite, summaries, tests)
        pairs = (pair_table(suite, tests[metric], of) for metric, of in ((SUBSETS, "the mean"), (LOST, "what is lost")))
        yield from filter(None, pairs)
    rates = summarise(rate_row(run, run["metrics"]["dropout"]) for run in runs if "dropout" in run["metrics"])
    if 0 < len(rates) <= _LINES:
        if plots is not None:
            _plot(rates, survey, plots / f"{stem}_dropout.svg")
        yield f"![Accuracy by the share of modalities that are missing](results/{stem}_dropout.svg)\n"


def subset_row(run: Content, subsets: Mapping[str, Mapping[str, float]]) -> Row:
    """Return the accuracy of a run by subset, its mean over the subsets, and how far that is below that on all."""
    accuracies = {subset: measures["accuracy"] for subset, measures in subsets.items()}
    mean = statistics.fmean(accuracies.values())
    everything = accuracies[min(subsets, key=lambda subset: subset.count("-"))]
    return Row(run["task"], run["title"], run["seed"], {**accuracies, MEAN: mean, _MISSED: everything - mean})


def rate_row(run: Content, rates: Mapping[str, Mapping[str, float]]) -> Row:
    """Return the accuracy of a run by rate."""
    return Row(run["task"], run["title"], run["seed"], {rate: measures["accuracy"] for rate, measures in rates.items()})


def subset_table(suite: Suite, summaries: Sequence[Summary], tests: Mapping[str, Sequence[Content]]) -> str:
    """Return one row an entry, one column a subset, and how the mean over them and what is lost differ from the
    control's."""
    subsets = [name for name in summaries[0].rows[0].test if name not in (MEAN, _MISSED)]
    columns: list[Column] = [("accuracy on subsets", lambda summary: summary.title)]
    columns += [_mean_of(subset) for subset in subsets]
    columns += [
        (f"mean of {_NUMBERS.get(len(subsets), len(subsets))}", lambda summary: spread(summary, MEAN)),
        *compared_columns(suite, summaries, tests[SUBSETS], MEAN),
        ("lost", lambda summary: spread(summary, _MISSED)),
    ]
    if tests[LOST]:
        columns.append(_lost_column(suite, tests[LOST]))
    compared = (
        f"Difference: of the mean from that of *{suite.control}*, with its paired bootstrap"
        if tests[SUBSETS]
        else f"Gain: the mean less that of *{suite.control}* with the same seed"
    )
    return (
        f"{rows_of(columns, summaries)}\na, v, t: audio, video and text are there. {compared}. Lost: accuracy with all "
        "modalities less the mean.\n"
    )


def _lost_column(suite: Suite, tests: Sequence[Content]) -> Column:
    """By how much more is lost than by the control."""
    cells = {
        test["title"]: f"{difference(test)} ({interval(test)}{', noise' * is_noise(test)})"
        for test in tests
        if test["against"] == suite.control
    }
    return "lost, difference", lambda summary: cells.get(summary.title, "")


def _mean_of(subset: str) -> Column:
    return subset, lambda summary: f"{summary.mean(subset):.1f}"


def _plot(summaries: Sequence[Summary], survey: Content, path: Path) -> None:
    rates = list(summaries[0].rows[0].test)
    lines = {
        summary.title: [(100 * float(rate), summary.mean(rate), float("nan")) for rate in rates]
        for summary in summaries
    }
    counted = survey.get("samples", {})
    level: Level = None
    if "majority" in counted:
        level = 100 * counted["majority"] / counted["test"], "commonest class"
    ticks = {100 * float(rate): f"{100 * float(rate):.0f}" for rate in rates}
    plot_lines(lines, ticks, ("% of modalities missing", "test accuracy"), path, level)
