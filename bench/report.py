"""The pages of results, rendered from the committed tables: one that a person reads, and one a suite behind it.

Pure: same tables, same pages.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from bench import plots, results
from bench.results import ACCURACY, LOST, ON, SUBSETS, WITHOUT, Results, read_spelled
from bench.search import doubt, edges
from bench.statistics import holm
from bench.suite import Suite
from training.engine.metrics import LOWER_IS_BETTER

PAGE: Final = "results.md"
FOLDER: Final = "suites"
_MADE = "Made by `python -m bench report` from the tables in [docs/results/]({here}); don't edit.\n"
_STUDENTS: Final = "m1_students.json"
_NETS: Final = "conversation_teachers.json"
_LEVEL: Final = 0.05
_SCORES: Final = {
    "weighted_f1": "weighted F1",
    "acc2_has0": "Acc2, 0 is positive",
    "acc2_non0": "Acc2, without 0",
    "acc7": "Acc7",
    "mae": "MAE",
    "pearson": "Pearson",
}
_PROTOCOL = """Speakers are disjoint where they are known; one checkpoint a run, chosen on validation; test is measured
once a run. All entries of a task have the same budget, and options are chosen on validation. ± is the sample standard
deviation over seeds. "Difference" is the accuracy less that of *{control}*, with its 95 % interval and p: of a paired
bootstrap over the conversations or recordings of test, averaged over seeds, or, where no predictions were kept, of a
paired t-test over seeds. *Better* and *worse* remain when all comparisons of a task are taken together (Holm, 5 %).
"""
_SUMMARY = """What a method gains is accuracy on test less that of the same student under the control, in points. Bold
differences remain after Holm's correction over all comparisons of a task; few do. How it was measured, and every
entry, stands on the page of the suite.
"""


def write_pages(folder: Path, docs: Path, suites: Mapping[str, Suite]) -> list[Path]:
    """Write the pages below `docs`, and their plots beside those of suites; return which."""
    written = []
    for name, text in render(folder, suites, docs / FOLDER).items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written


def render(folder: Path, suites: Mapping[str, Suite], drawn: Path | None = None) -> dict[str, str]:
    """Return page -> text for the suites of which the folder has tables; with `drawn`, draw the plots into it."""
    known = {name: (suite, results.read(folder, name)) for name, suite in suites.items()}
    known = {name: (suite, found) for name, (suite, found) in known.items() if len(found.tasks)}
    pages = {f"{FOLDER}/{name}.md": _suite_page(suite, found, drawn) for name, (suite, found) in known.items()}
    return {PAGE: "\n".join(_summary(folder, known, drawn)), **pages}


def _summary(folder: Path, known: Mapping[str, tuple[Suite, Results]], drawn: Path | None) -> Iterator[str]:
    yield "# Results\n"
    yield _MADE.format(here="results/")
    yield _SUMMARY
    rows = [row for suite, found in known.values() for row in _headlines(suite, found)]
    yield markdown(pd.DataFrame(rows))
    yield from _three_plots(known, drawn)
    students = folder / _STUDENTS
    if students.is_file():
        yield from _students(json.loads(students.read_text()))
    nets = folder / _NETS
    if nets.is_file():
        yield from _nets(json.loads(nets.read_text()))


def _headlines(suite: Suite, found: Results) -> Iterator[dict[str, str]]:
    """Of every task: the control, the entry that validation prefers, and how many are better and worse."""
    for facts in found.tasks.to_dict("records"):
        task = str(facts["task"])
        runs, tests = _runs(found, task), judged(found, task, ACCURACY)
        if runs.empty:
            continue
        means = runs.groupby("title", sort=False)[["valid", "accuracy"]].mean()
        lower = facts["metric"] in LOWER_IS_BETTER
        best = str(means["valid"].idxmin() if lower else means["valid"].idxmax())
        of_best = tests[(tests["title"] == best) & (tests["against"] == suite.control)]
        against = tests[tests["against"] == suite.control]["verdict"]
        control = means["accuracy"].get(suite.control, float("nan"))
        gain = "" if of_best.empty else _difference(of_best.iloc[0])
        yield {
            "suite": f"[{suite.name}]({FOLDER}/{suite.name}.md)",
            "task": task,
            "control": f"{suite.control}: {control:.1f}",
            "best on validation": best,
            "its difference on test": gain,
            "better / worse / not told apart": " / ".join(
                str(int((against == v).sum())) for v in ("better", "worse", "")
            ),
        }


def _three_plots(known: Mapping[str, tuple[Suite, Results]], drawn: Path | None) -> Iterator[str]:
    grid = {
        (name, task): judged(found, task, ACCURACY)
        for name, (suite, found) in known.items()
        if name in ("unimodal", "mosi")
        for task in found.tasks["task"]
        if suite.control == "plain"
    }
    if grid:
        table = pd.DataFrame({task: _against(one, "plain", "mean") for (_, task), one in grid.items()})
        families = {entry.title: entry.family for suite, _ in known.values() for entry in suite.entries}
        table = table.loc[sorted(table.index, key=lambda title: families.get(title, ""))]
        bold = pd.DataFrame({task: _against(one, "plain", "verdict") for (_, task), one in grid.items()})
        if drawn is not None:
            plots.plot_grid(
                table, bold.fillna("").ne("").loc[table.index], drawn / "methods.png", "points against plain"
            )
        yield _image("Every method's difference from the plain student, by task; bold: beyond chance", "methods")
    for name, (suite, found) in known.items():
        panels = {task: lines for task in found.tasks["task"] if (lines := _lookahead(suite, _runs(found, task)))}
        if panels and drawn is not None:
            ticks = {0.0: "0", 1.0: "1", 2.0: "2", 3.0: "4", 4.0: "all"}
            plots.plot_lines(panels, ticks, "utterances ahead", "test accuracy", drawn / f"{name}_lookahead.png")
        if panels:
            yield _image("Accuracy against look-ahead; bars are one standard error over seeds", f"{name}_lookahead")
    if "missing" in known:
        found = known["missing"][1]
        panels = _rates(pd.concat([_runs(found, task) for task in found.tasks["task"]]))
        if drawn is not None:
            ticks = {10.0 * i: str(10 * i) for i in range(0, 10, 3)}
            plots.plot_lines(panels, ticks, "% of modalities missing", "test accuracy", drawn / "missing_rates.png")
        yield _image("Accuracy by the share of modalities that are missing", "missing_rates")


def _suite_page(suite: Suite, found: Results, drawn: Path | None) -> str:
    parts = [f"# {suite.title}\n", f"{suite.question} [All results](../{PAGE}).\n", _MADE.format(here="../results/")]
    parts.append(f"Measured by `{found.tasks['command'].iloc[0]}`, {found.tasks['machine'].iloc[0]}.\n")
    parts.append(_PROTOCOL.format(control=suite.control))
    tests = [judged(found, task, ACCURACY).assign(task=task) for task in found.tasks["task"]]
    shown = pd.concat(tests)
    shown = shown[shown["against"] == suite.control]
    if len(shown):
        if drawn is not None:
            plots.plot_differences(shown, drawn / f"{suite.name}.png", f"accuracy less that of {suite.control}, points")
        parts.append(_image(f"Differences from {suite.control}, with 95 % intervals", suite.name, "."))
    for facts in found.tasks.to_dict("records"):
        parts += _task(suite, found, facts)
    return "\n".join(parts)


def _task(suite: Suite, found: Results, facts: Mapping[str, Any]) -> Iterator[str]:
    task, metric = str(facts["task"]), str(facts["metric"])
    yield f"## {task}\n"
    if task in suite.tasks and suite.tasks[task].note:
        yield f"{suite.tasks[task].note}\n"
    if facts.get("test") == facts.get("test"):
        units = facts.get("units")
        of = f" of {units:,.0f} conversations or recordings" if units == units and units is not None else ""
        yield f"Test has {facts['test']:,.0f} labelled samples{of}.\n"
    teachers = found.runs[(found.runs["kind"] == "teacher") & (found.runs["task"] == task)]
    columns = {"title": "teacher", "valid": f"valid {metric}", metric: f"test {metric}", "macro_f1": "test macro F1"}
    yield markdown(_columns(teachers, {**columns, "error": ""}))
    runs, tests = _runs(found, task), judged(found, task, ACCURACY)
    refused = _refused(found, task, facts)
    ranked = runs[~runs["title"].isin(refused)]
    yield markdown(_main(suite, ranked, tests, metric, task))
    if refused:
        yield "Not ranked, since the search of their options says nothing:\n"
        yield "\n".join(f"- {title}: {why}" for title, why in refused.items()) + "\n"
    yield from _scores(ranked)
    yield from _pairs(suite, tests, "accuracy")
    yield from _subsets(suite, found, task, ranked)
    if suite.shows_weights:
        yield from _weights(ranked)
    failed = found.runs[(found.runs["kind"] == "run") & (found.runs["task"] == task) & found.runs["error"].notna()]
    if len(failed):
        yield "Runs that failed:\n"
        yield "\n".join(f"- {row.title}, seed {row.seed:.0f}: {row.error}" for row in failed.itertuples()) + "\n"


def judged(found: Results, task: str, metric: str) -> pd.DataFrame:
    """Return the tests of a task by a metric, with a `verdict`: better, worse, or nothing, after Holm's correction."""
    tests = found.tests[(found.tests["task"] == task) & (found.tests["metric"] == metric)].copy()
    remain = holm(tests["p"].tolist(), _LEVEL) if len(tests) else []
    signs = ["better" if mean > 0 else "worse" for mean in tests.get("mean", [])]
    tests["verdict"] = [sign if kept else "" for sign, kept in zip(signs, remain, strict=True)]
    return tests


def _refused(found: Results, task: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """Title -> why its row is not shown among the others."""
    trials = found.runs[(found.runs["kind"] == "trial") & (found.runs["task"] == task)]
    lower = facts["metric"] in LOWER_IS_BETTER
    chance = float(facts.get("chance", float("nan")))
    reasons = {}
    for title, own in trials.groupby("title", sort=False):
        values = own.fillna({"knobs": ""}).groupby("knobs")["valid"].mean().tolist()
        if why := doubt(values, chance, lower):
            reasons[str(title)] = why
    return reasons


def _main(suite: Suite, runs: pd.DataFrame, tests: pd.DataFrame, metric: str, task: str) -> pd.DataFrame:
    """One row an entry."""
    against = tests[tests["against"] == suite.control].set_index("title")
    ranges = {entry.title: suite.ranges_of(entry, task) for entry in suite.entries if task in suite.tasks}
    rows = []
    families = {entry.title: entry.family for entry in suite.entries}
    for title, own in runs.groupby("title", sort=False):
        first = own.iloc[0]
        knobs = read_spelled(first["knobs"])
        row = {
            "family": families.get(str(title), ""),
            "run": str(title),
            "options": ", ".join(
                f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in knobs.items()
            ),
            "seeds": str(len(own)),
            f"valid {metric}": f"{own['valid'].mean():.1f}",
            f"test {metric}": _spread(own[metric]),
            "macro F1": _spread(own["macro_f1"]) if "macro_f1" in own else "",
            "ECE": f"{own['ece'].mean():.3f}" if "ece" in own else "",
        }
        if "scaled_ece" in own:
            row["ECE, scaled"] = f"{own['scaled_ece'].mean():.3f}"
        if title in against.index:
            test = against.loc[title]
            row |= {"difference": _difference(test), "p": f"{test['p']:.4f}", "": test["verdict"]}
        if edge := edges(knobs, ranges.get(str(title), {})):
            row["options"] += f" (at the edge of its range: {', '.join(edge)})"
        row |= {"parameters": f"{first['parameters']:,.0f}", "CPU ms": f"{own['cpu_ms'].median():.2f}"}
        rows.append({**row, "train s": f"{own['seconds'].mean():.0f}"})
    return pd.DataFrame(rows).fillna("")


def _scores(runs: pd.DataFrame) -> Iterator[str]:
    """What is measured of scores; nothing where there are none."""
    if "mae" in runs and runs["mae"].notna().any():
        yield markdown(_by_title(runs, {name: heading for name, heading in _SCORES.items() if name in runs}))
        yield "MAE: of scores in [-1, 1]; three times as much on the scale of -3 to 3.\n"


def _pairs(suite: Suite, tests: pd.DataFrame, of: str) -> Iterator[str]:
    """Comparisons that the suite asks for beside those with the control, and what the gap of look-ahead closes."""
    own = tests[tests["against"] != suite.control]
    if len(own):
        rows = [
            {
                "run": test["title"],
                "against": test["against"],
                f"difference of {of}": _difference(test),
                "p": f"{test['p']:.4f}",
                "": test["verdict"],
            }
            for test in own.to_dict("records")
        ]
        yield markdown(pd.DataFrame(rows))


def _subsets(suite: Suite, found: Results, task: str, runs: pd.DataFrame) -> Iterator[str]:
    """Accuracy on subsets of modalities, its mean, and what is lost with them; nothing where it wasn't measured."""
    subsets = [name for name in runs if name.startswith(ON) and runs[name].notna().any()]
    if not subsets:
        return
    whole = min(subsets, key=lambda name: name.count("-"))
    wide = runs.assign(mean=runs[subsets].mean(axis=1), lost=runs[whole] - runs[subsets].mean(axis=1))
    table = _by_title(wide, {**{name: name.removeprefix(ON) for name in subsets}, "mean": "mean", "lost": "lost"})
    for metric, heading in ((SUBSETS, "mean, difference"), (LOST, "lost, difference")):
        tests = judged(found, task, metric)
        cells = {t["title"]: _difference(t) for t in tests[tests["against"] == suite.control].to_dict("records")}
        if cells:
            table[heading] = [cells.get(title, "") for title in table["run"]]
    yield markdown(table)
    yield "a, v, t: audio, video and text are there. Lost: accuracy with all of them less the mean over the subsets.\n"
    for metric, of in ((SUBSETS, "the mean"), (LOST, "what is lost")):
        yield from _pairs(suite, judged(found, task, metric), of)


def _weights(runs: pd.DataFrame) -> Iterator[str]:
    """Mean weights at the end of training, over seeds: a column an entry that has any."""
    if "weights" not in runs:
        return
    columns = {}
    for title, own in runs[runs["weights"].notna()].groupby("title", sort=False):
        weights = pd.DataFrame([read_spelled(cell) for cell in own["weights"]]).mean()
        columns[str(title)] = {name.rpartition("/")[2]: f"{value:.3f}" for name, value in weights.items()}
    if columns:
        table = pd.DataFrame(columns).fillna("")
        yield markdown(table.reset_index(names="weight at the end"))


def _lookahead(suite: Suite, runs: pd.DataFrame) -> dict[str, list[tuple[float, float, float]]]:
    """Line -> points of its look-ahead curve: place, mean accuracy and its standard error over seeds."""
    places = {0: 0.0, 1: 1.0, 2: 2.0, 4: 3.0, -1: 4.0}
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for entry in suite.entries:
        own = runs[runs["title"] == entry.title]["accuracy"]
        if entry.line and len(own):
            error = float(own.std() / math.sqrt(len(own)))
            lines.setdefault(entry.line, []).append((places[entry.lookahead], float(own.mean()), error))
    return lines


def _rates(runs: pd.DataFrame) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
    """Task -> line -> accuracy by rate: of students without a teacher, and of the three that are best on average when
    modalities are missing."""
    rates = [name for name in runs if name.startswith(WITHOUT)]
    order = runs.groupby("title", sort=False)[rates].mean().mean(axis=1).sort_values(ascending=False).index
    plain = [title for title in order if "mask only" in title or "nothing hidden" in title]
    shown = list(dict.fromkeys([*plain, *[title for title in order if title not in plain][:3]]))
    means = runs.groupby(["task", "title"], sort=False)[rates].mean()
    return {
        task: {
            title: [
                (100 * float(rate.removeprefix(WITHOUT)), float(means.loc[(task, title), rate]), math.nan)
                for rate in rates
            ]
            for title in shown
        }
        for task in dict.fromkeys(runs["task"])
    }


def _students(content: Mapping[str, Any]) -> Iterator[str]:
    """The served students on test."""
    yield "## The served students\n"
    rows = [
        {"student": name, "parameters": f"{one['parameters']:,}", "measured on": split}
        | {label: f"{metrics.get(key, math.nan):.3g}" for key, label in _STUDENT_MEASURES.items()}
        for name, one in content["students"].items()
        for split, metrics in one["metrics"].items()
        if split.startswith("test")
    ]
    yield markdown(pd.DataFrame(rows).replace("nan", ""))
    yield f"Measured by `{content['command']}`, {content['measured'][:10]}; one seed.\n"


_STUDENT_MEASURES: Final = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "ece": "ECE",
    "polarity_accuracy": "polarity accuracy",
    "sentiment_mae": "sentiment MAE",
}


def _nets(content: Mapping[str, Any]) -> Iterator[str]:
    """The large nets over conversations."""
    yield "## Large nets over conversations\n"
    yield f"On test, over {content['seeds']} seeds. Made by `{content['command']}`.\n"
    shown = ("accuracy", "weighted_f1", "acc7", "mae", "pearson")
    rows = [
        {"task": task, "net": name, "parameters": f"{net['parameters']:,}", "CPU ms": f"{net['cpu_ms']:.2f}"}
        | {measure: _spread(pd.Series(net[measure]), measure) for measure in shown}
        for task, nets in content["tasks"].items()
        for name, net in nets.items()
    ]
    yield markdown(pd.DataFrame(rows))


def markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown; its cells as they are, numbers with one decimal."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return "" if value != value else f"{value:.1f}"
        return _text(value).replace("|", "\\|")

    lines = [
        list(table.columns),
        ["---"] * len(table.columns),
        *(map(cell, row) for row in table.itertuples(index=False)),
    ]
    return (
        "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("| --- ", "|---").replace("--- |", "---|")
        + "\n"
    )


def _runs(found: Results, task: str) -> pd.DataFrame:
    runs = found.runs
    return runs[(runs["kind"] == "run") & (runs["task"] == task) & runs["error"].isna()]


def _against(tests: pd.DataFrame, control: str, column: str) -> "pd.Series[Any]":
    return tests[tests["against"] == control].set_index("title")[column]


def _by_title(runs: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """A row a title, a column of mean and deviation for each."""
    rows = [
        {"run": str(title)} | {heading: _spread(own[name], name) for name, heading in columns.items()}
        for title, own in runs.groupby("title", sort=False)
    ]
    return pd.DataFrame(rows)


def _columns(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    kept = [name for name in names if name in table and table[name].notna().any()]
    return table[kept].rename(columns=dict(names))


def _spread(values: "pd.Series[Any]", metric: str = "") -> str:
    digits = 3 if metric in ("mae", "pearson") else 1
    if values.isna().all():
        return ""
    deviation = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"


def _difference(test: "Mapping[str, Any] | pd.Series[Any]") -> str:
    return f"{test['mean']:+.1f} ({test['low']:+.1f} to {test['high']:+.1f})"


def _text(value: object) -> str:
    return "" if value != value or value is None else str(value)


def _image(words: str, name: str, folder: str = FOLDER) -> str:
    return f"![{words}]({folder}/{name}.png)\n"
