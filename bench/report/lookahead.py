"""The section on students that may not look ahead: accuracy against look-ahead, and how much of what looking ahead buys
comes back.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.compare import Summary
from bench.plots import plot_lines
from bench.report.tables import Content, difference, interval, is_noise
from bench.suite import Suite

Line = Mapping[int | None, Summary]
"""Utterances ahead (None: the whole conversation) -> the runs of that entry."""


def lookahead_section(
    suite: Suite, summaries: Sequence[Summary], tests: Sequence[Content], stem: str, plots: Path | None
) -> Iterator[str]:
    """Yield the curve and what it says; nothing for suites without lines."""
    lines = lines_of(suite, summaries)
    if not lines:
        return
    if plots is not None:
        _plot(lines, plots / f"{stem}_lookahead.svg")
    yield f"![Accuracy against look-ahead; bars are one standard error over seeds](results/{stem}_lookahead.svg)\n"
    control = next((entry.line for entry in suite.entries if entry.title == suite.control), "")
    if control in lines and {0, None} <= set(lines[control]):
        yield from filter(None, [closed(lines, control, tests)])


def lines_of(suite: Suite, summaries: Sequence[Summary]) -> dict[str, dict[int | None, Summary]]:
    """Return the lines of the look-ahead curve, of entries that have runs."""
    by_title = {summary.title: summary for summary in summaries}
    lines: dict[str, dict[int | None, Summary]] = {}
    for entry in suite.entries:
        if entry.line and entry.title in by_title:
            lines.setdefault(entry.line, {})[entry.lookahead] = by_title[entry.title]
    return lines


def closed(lines: Mapping[str, Line], control: str, tests: Sequence[Content]) -> str:
    """Return how large the gap is between the control's students of whole conversations and those that see only the
    past, and, where it is beyond noise, how much of it the other lines close there. Nothing without a test of the gap.
    """
    by_pair = {(test["title"], test["against"]): test for test in tests}
    whole, past = lines[control][None].title, lines[control][0].title
    gap = by_pair.get((whole, past))
    if gap is None:
        return ""
    text = (
        f"Seeing the whole conversation is worth {difference(gap)} points to *{control}* (95 % interval {interval(gap)}"
    )
    if is_noise(gap):
        return f"{text}, noise): on this corpus there is no gap beyond noise, and so none to close.\n"
    if gap["mean"] < 0:
        return f"{text}): there is no gap to close.\n"
    others = {name: line[0].title for name, line in lines.items() if name != control and 0 in line}
    gains = {name: by_pair[title, past] for name, title in others.items() if (title, past) in by_pair}
    shares = "; ".join(
        f"*{name}* {gain['mean'] / gap['mean']:.0%} ({difference(gain)}, {interval(gain)}{', noise' * is_noise(gain)})"
        for name, gain in gains.items()
    )
    return f"{text}). Students that see only the past get back: {shares}.\n" if shares else f"{text}).\n"


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
