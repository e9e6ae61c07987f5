"""The section on students that may not look ahead: accuracy against look-ahead, and how much of what looking ahead buys
comes back.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training.distill.compare import Summary
from training.distill.plots import plot_lines
from training.distill.report.tables import Content, interval, is_noise
from training.distill.suite import Suite

Line = Mapping[int | None, Summary]
"""Utterances ahead (None: the whole conversation) -> the runs of that entry."""


def lookahead_section(
    suite: Suite, task: str, summaries: Sequence[Summary], tests: Sequence[Content], stem: str, plots: Path | None
) -> Iterator[str]:
    """Yield the curve and what it says; nothing for suites without lines."""
    lines = lines_of(suite, task, summaries)
    if not lines:
        return
    if plots is not None:
        _plot(lines, plots / f"{stem}_lookahead.svg")
    yield f"![Accuracy against look-ahead; bars are one standard error over seeds](results/{stem}_lookahead.svg)\n"
    control = next((entry.line for entry in suite.entries if entry.title == suite.control), "")
    if control in lines and {0, None} <= set(lines[control]):
        yield closed(lines, control, tests)


def lines_of(suite: Suite, task: str, summaries: Sequence[Summary]) -> dict[str, dict[int | None, Summary]]:
    """Return the lines of the look-ahead curve, of entries that have runs."""
    by_title = {summary.title: summary for summary in summaries}
    lines: dict[str, dict[int | None, Summary]] = {}
    for entry in suite.entries_of(task):
        if entry.line and entry.title in by_title:
            lines.setdefault(entry.line, {})[entry.lookahead] = by_title[entry.title]
    return lines


def closed(lines: Mapping[str, Line], control: str, tests: Sequence[Content]) -> str:
    """Return how large the gap is between the control's students of whole conversations and those that see only the
    past, and which share of it the other lines close there."""
    whole, past = lines[control][None], lines[control][0]
    gap = whole.mean("accuracy") - past.mean("accuracy")
    found = [test for test in tests if (test["title"], test["against"]) == (whole.title, past.title)]
    tested = f" (95 % interval {interval(found[0])}{', noise' if is_noise(found[0]) else ''})" if found else ""
    text = f"Seeing the whole conversation is worth {gap:+.2f} points to *{control}*{tested}."
    gained = {name: line[0].mean("accuracy") - past.mean("accuracy") for name, line in lines.items() if 0 in line}
    del gained[control]
    if not gained:
        return f"{text}\n"
    if gap <= 0:
        return f"{text} There is no gap to close.\n"
    shares = ", ".join(f"{gain / gap:.0%} by *{name}* ({gain:+.2f})" for name, gain in gained.items())
    return f"{text} Of that gap, students that see only the past get back {shares}.\n"


def _plot(lines: Mapping[str, Line], path: Path) -> None:
    """Bars are of one standard error of the mean over seeds."""
    known = sorted({ahead for line in lines.values() for ahead in line if ahead is not None})
    places: dict[int | None, float] = {ahead: float(place) for place, ahead in enumerate(known)}
    if any(None in line for line in lines.values()):
        places[None] = float(len(known))
    points = {
        name: [(places[ahead], line[ahead].mean("accuracy"), _error(line[ahead])) for ahead in places if ahead in line]
        for name, line in lines.items()
    }
    ticks = {place: "all" if ahead is None else str(ahead) for ahead, place in places.items()}
    plot_lines(points, ticks, ("utterances ahead", "test accuracy"), path, None)


def _error(summary: Summary) -> float:
    return summary.deviation("accuracy") / math.sqrt(len(summary.rows))
