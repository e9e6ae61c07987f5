"""Renders docs/results.md and its plots from the committed JSONs.

Knows the order of sections; each is made elsewhere.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.compare import Summary, row_of, summarise
from bench.comparisons import ACCURACY, LOST, SUBSETS
from bench.entries import available, best_teacher, teachers_used
from bench.plots import plot_cost, plot_methods
from bench.report.lookahead import lookahead_section
from bench.report.significance import pair_table, standard_error, tested_verdict, tests_of
from bench.report.subsets import subset_section
from bench.report.tables import Content, main_table, score_table, teacher_table, verdict
from bench.report.weights import weight_section
from bench.suite import Suite
from bench.suites import SUITES
from training.engine.metrics import LOWER_IS_BETTER

STUDENTS = "m1_students.json"
NETS = "conversation_teachers.json"
_HEAD = """# Results

Made by `python -m bench report` from the JSON files in [results/](results/); don't edit.
"""
_PROTOCOL = """Protocol: speakers are disjoint where they are known; one checkpoint a run, chosen on validation; test
touched once a run; mean and sample standard deviation over seeds. All runs of a task make the same number of optimiser
steps. The weight of a method, as a factor of its default, was chosen on validation with the first seed and {tuning} of
the steps. "Gain" is the difference to *{control}* with the same seed: its mean, and in how many seeds it is above 0. No
significance is claimed from so few seeds.
"""
_TESTED = """Protocol: speakers are disjoint where they are known; one checkpoint a run, chosen on validation; test
touched once a run; mean and sample standard deviation over seeds. All runs of a task have the same {budget}.{tuned}
"Difference" is the accuracy less that of *{control}*, averaged over the seeds that both have, with the 95 % interval of
a paired bootstrap over the conversations or recordings of test. Where it contains 0, the difference is noise. The
interval is about other conversations, not about other seeds.{chosen}
"""
_HIDDEN = (
    """ Of students from which modalities are hidden, validation chooses by the mean over the subsets of modalities."""
)
_TUNED = """ The weight of a
method, as a factor of its default, was chosen on validation with {seeds} and {tuning} of that."""


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
    nets = results / NETS
    if nets.is_file():
        parts.append(_nets(json.loads(nets.read_text())))
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


def _nets(content: Content) -> str:
    """The large nets over conversations, seed by seed."""
    lines = [
        "## Large nets over conversations",
        "",
        "Trained on all training conversations; validation chooses the epoch; mean and sample standard deviation on",
        f"test over {content['seeds']} seeds. An ensemble is the mean of the logits of the nets above it, of one seed.",
        "CPU ms: of one utterance on one thread.",
        f"Made by `{content['command']}`.",
        "",
        "| task | net | parameters | CPU ms | accuracy | weighted F1 | Acc7 | MAE | Pearson |",
        "|---" * 9 + "|",
    ]
    for task, nets in content["tasks"].items():
        for name, net in nets.items():
            shares = [_over_seeds(net[measure], 1) for measure in ("accuracy", "weighted_f1", "acc7")]
            rest = [_over_seeds(net[measure], 3) for measure in ("mae", "pearson")]
            cells = [task, name, f"{net['parameters']:,}", f"{net['cpu_ms']:.2f}", *shares, *rest]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _over_seeds(values: Sequence[float], digits: int) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def _suite(suite: Suite, content: Content, plots: Path | None) -> Iterator[str]:
    yield f"## {suite.title}\n\n{suite.question} Made by `{content['command']}`.\n"
    yield _protocol(suite, content)
    failed = [run for run in content["runs"] if "error" in run]
    if len(content["tasks"]) > 1:
        yield _cost_plot(suite, content, plots)
    for task in content["tasks"]:
        runs = [run for run in content["runs"] if run["task"] == task and "error" not in run]
        if runs:
            yield f"### {suite.name}: {task}\n"
            yield from _task(suite, task, content, runs, plots)
    if failed:
        yield "Runs that failed:\n"
        yield "\n".join(f"- {run['task']}, {run['title']}, seed {run['seed']}: {run['error']}" for run in failed) + "\n"


def _protocol(suite: Suite, content: Content) -> str:
    if not content.get("comparisons"):
        return _PROTOCOL.format(control=suite.control, tuning=f"{suite.tuning:.0%}")
    budget = "number of optimiser steps"
    if any("epochs" in one for one in suite.budgets.values()):
        budget = "number of epochs, which are shorter where samples are held out (meta, meta_teacher, reweight)"
    seeds = "the first seed" if suite.trial_seeds == 1 else f"the first {suite.trial_seeds} seeds"
    tuned = _TUNED.format(seeds=seeds, tuning=f"{suite.tuning:.0%}") if content["trials"] else ""
    hides = any("modality_dropout" in base for base in (suite.base, *suite.base_of.values()))
    return _TESTED.format(budget=budget, tuned=tuned, control=suite.control, chosen=_HIDDEN if hides else "")


def _task(suite: Suite, task: str, content: Content, runs: Sequence[Content], plots: Path | None) -> Iterator[str]:
    """All sections of a task: those that its numbers are enough for."""
    survey, tests = content["tasks"][task], tests_of(content, task, ACCURACY)
    on_subsets = {metric: tests_of(content, task, metric) for metric in (SUBSETS, LOST)}
    metric, stem = survey["metric"], f"{suite.name}_{task}"
    summaries = summarise(row_of(run) for run in runs)
    if task in suite.notes:
        yield f"{suite.notes[task]}\n"
    yield teacher_table(suite, task, survey)
    yield main_table(suite, runs, summaries, metric, tests)
    if tests:
        told = standard_error(survey, summaries, suite.control)
        yield from filter(None, (told, score_table(summaries), tested_verdict(suite, tests), pair_table(suite, tests)))
    else:
        yield verdict(suite, summaries, metric)
    yield _methods_plot(suite, task, summaries, survey, plots)
    yield from lookahead_section(suite, summaries, tests, stem, plots)
    yield from subset_section(suite, runs, on_subsets, survey, stem, plots)
    if suite.shows_weights:
        yield from weight_section(runs, stem, plots)


def _methods_plot(suite: Suite, task: str, summaries: Sequence[Summary], survey: Content, plots: Path | None) -> str:
    metric, stem = survey["metric"], f"{suite.name}_{task}"
    there = teachers_used(suite, available(suite.pools[task], survey))
    teacher = survey["teachers"][best_teacher(there, survey)]["test"][metric] if there else float("nan")
    if plots is not None:
        plot_methods(summaries, suite.control, teacher, metric, plots / f"{stem}.svg")
    return f"![{metric} of every run](results/{stem}.svg)\n"


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
