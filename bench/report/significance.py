"""Sections of suites whose entries are tested against each other: what is beyond noise, and what of it stays when many
comparisons are made.
"""

import math
from collections.abc import Sequence

from bench.bootstrap import holm
from bench.compare import Summary
from bench.report.tables import Content, difference, interval, is_noise, listed
from bench.suite import Suite

_LEVEL = 0.05


def tests_of(content: Content, task: str, metric: str) -> list[Content]:
    """Return the comparisons on a task by a metric; none of suites without tests."""
    return [test for test in content.get("comparisons", []) if (test["task"], test["metric"]) == (task, metric)]


def standard_error(survey: Content, summaries: Sequence[Summary], control: str) -> str:
    """Return a sentence that says how large one standard error of the control's accuracy is; nothing where the size of
    test isn't known.

        sqrt(p (1 - p) / n), as if samples were independent of each other
    """
    counted = survey.get("samples")
    accuracies = [summary.mean("accuracy") for summary in summaries if summary.title == control]
    if not counted or not accuracies:
        return ""
    share = accuracies[0] / 100
    error = 100 * math.sqrt(share * (1 - share) / counted["test"])
    where = f" of {counted['units']:,} conversations or recordings" if "units" in counted else ""
    return (
        f"Test has {counted['test']:,} labelled samples{where}: one standard error of an accuracy of "
        f"{100 * share:.1f} % is {error:.1f} points, if they were independent of each other.\n"
    )


def tested_verdict(suite: Suite, tests: Sequence[Content]) -> str:
    """Return what is better and worse than the control beyond noise, what is noise, and how many of all comparisons
    remain significant after Holm's correction."""
    groups: dict[str, list[tuple[float, str]]] = {
        f"Better than *{suite.control}* beyond noise": [],
        "Worse beyond noise": [],
        "Noise": [],
    }
    better, worse, noise = groups.values()
    for test in tests:
        if test["against"] == suite.control:
            group = noise if is_noise(test) else better if test["mean"] > 0 else worse
            group.append((test["mean"], test["title"]))
    alone = sum(test["p"] < _LEVEL for test in tests)
    remain = sum(holm([test["p"] for test in tests], _LEVEL))
    return (
        f"{listed(groups)}\nOf {len(tests)} comparisons on this task, {alone} have p below {_LEVEL:g}, each taken "
        f"alone; {_LEVEL * len(tests):.1f} would if nothing differed. {remain} remain when they are taken together "
        "(Holm).\n"
    )


def pair_table(suite: Suite, tests: Sequence[Content], of: str = "") -> str:
    """Return the comparisons that the suite asks for beside those with the control; nothing where there are none.

    `of`: what is compared, where it isn't accuracy.
    """
    pairs = [test for test in tests if test["against"] != suite.control]
    if not pairs:
        return ""
    lines = [f"| run | against | seeds | difference{of and f' of {of}'} | 95 % interval | p | |", "|---" * 7 + "|"]
    for test in pairs:
        numbers = f"{test['seeds']} | {difference(test)} | {interval(test)} | {test['p']:.4f}"
        lines.append(f"| {test['title']} | {test['against']} | {numbers} | {'noise' if is_noise(test) else ''} |")
    return "\n".join([*lines, ""])
