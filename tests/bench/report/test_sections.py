"""Every section of a page, its numbers computed anew with NumPy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report import render
from bench.suite import BEST, Entry, Suite
from tests.bench.report.content import RATES, SEEDS, SUBSETS, SUITE, TITLES, drawn

Json = dict[str, Any]


def page(content: Json, folder: Path, plots: Path | None = None, suite: Suite = SUITE) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "talk.json").write_text(json.dumps(content))
    return render(folder, plots, {"talk": suite})


def row(text: str, title: str, table: str) -> dict[str, str]:
    """The cells of a row by heading, in the table of which the heading has a cell `table`."""
    lines = text.splitlines()
    (head,) = [i for i, line in enumerate(lines) if f"| {table} |" in line]
    names = [cell.strip() for cell in lines[head].strip("|").split("|")]
    for line in lines[head + 2 :]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if title in cells[:2]:
            return dict(zip(names, cells, strict=True))
    raise AssertionError(f"no row {title!r} in the table {table!r}")


def values(content: Json, title: str, *path: str) -> np.ndarray[Any, Any]:
    found = [run["metrics"] for run in content["runs"] if run["title"] == title]
    for name in path:
        found = [one[name] for one in found]
    return np.array(found)


def test_differences_stand_beside_their_runs(tmp_path: Path) -> None:
    text = page(drawn(), tmp_path)
    cells = row(text, "plain, 2", "weight x")
    assert (cells["difference"], cells["95 % interval"], cells["p"], cells[""]) == (
        "+1.00",
        "-0.50 to +2.50",
        "0.2000",
        "noise",
    )
    assert (cells["parameters"], cells["CPU ms"]) == ("8,000", "0.50")
    assert row(text, "kd, all", "weight x")[""] == ""
    assert row(text, "plain, 0", "weight x")["p"] == ""
    assert "| kd, 0 | plain, all | 4 | -0.50 | -2.00 to +1.00 | 0.6000 | noise |" in text


def test_the_verdict_counts_what_remains(tmp_path: Path) -> None:
    text = page(drawn(), tmp_path)
    assert "- Better than *plain, 0* beyond noise: plain, all (+2.0), kd, 0 (+1.5)." in text
    assert "- Worse beyond noise: kd, all (-3.0)." in text
    assert "- Noise: plain, 2 (+1.0)." in text
    # Of five: 0.0002 < 0.05 / 5, 0.0004 < 0.05 / 4, 0.013 < 0.05 / 3, 0.2 > 0.05 / 2.
    assert "Of 5 comparisons on this task, 3 have p below 0.05, each taken alone; 0.2 would" in text
    assert "3 remain when they are taken together (Holm)" in text


def test_the_protocol_is_the_suites(tmp_path: Path) -> None:
    text = " ".join(page(drawn(), tmp_path).split())
    assert "All runs of a task have the same number of epochs, which are shorter where samples are held out" in text
    assert "with the first 2 seeds and 25% of that." in text
    assert "No significance is claimed" not in text


def test_one_standard_error(tmp_path: Path) -> None:
    content = drawn()
    share = values(content, "plain, 0", "test", "accuracy").mean()
    error = np.sqrt(share * (100 - share) / 752)
    text = page(content, tmp_path)
    assert (
        "Test has 752 labelled samples of 31 conversations or recordings: one standard error of an accuracy of" in text
    )
    assert f"{share:.1f} % is {error:.1f} points" in text
    del content["tasks"]["talk"]["samples"]
    assert "labelled samples" not in page(content, tmp_path / "other")


def test_scores_have_a_table_of_their_own(tmp_path: Path) -> None:
    content = drawn()
    cells = row(page(content, tmp_path), "kd, 0", "MAE")
    for name, metric, digits in (("Acc2, 0 is positive", "acc2_has0", 1), ("MAE", "mae", 3), ("Pearson", "pearson", 3)):
        known = values(content, "kd, 0", "test", metric)
        assert cells[name] == f"{known.mean():.{digits}f} ± {known.std(ddof=1):.{digits}f}"
    for run in content["runs"]:
        for metric in ("mae", "pearson", "acc7", "acc2_has0", "acc2_non0"):
            del run["metrics"]["test"][metric]
    assert "MAE" not in page(content, tmp_path / "other")


def test_subsets(tmp_path: Path) -> None:
    content = drawn()
    by_title = {
        title: np.array([values(content, title, "subsets", subset, "accuracy") for subset in SUBSETS])
        for title in ("plain, 0", "kd, 0")
    }
    cells = row(page(content, tmp_path), "kd, 0", "accuracy on subsets")
    assert [cells[subset] for subset in SUBSETS] == [f"{mean:.1f}" for mean in by_title["kd, 0"].mean(1)]
    means = by_title["kd, 0"].mean(0)
    assert cells["mean of three"] == f"{means.mean():.1f} ± {means.std(ddof=1):.1f}"
    lost = by_title["kd, 0"][2] - means
    assert cells["lost"] == f"{lost.mean():.1f} ± {lost.std(ddof=1):.1f}"
    gains = means - by_title["plain, 0"].mean(0)
    assert (cells["gain"], cells["above 0"]) == (f"{gains.mean():+.1f}", f"{(gains > 0).sum()} of {SEEDS}")


def test_subsets_that_are_compared(tmp_path: Path) -> None:
    content = drawn()
    test = {"task": "talk", "metric": "subset_accuracy", "seeds": SEEDS, "p": 0.0125}
    content["comparisons"] += [
        {**test, "title": "kd, 0", "against": "plain, 0", "mean": 1.25, "low": 0.5, "high": 2.0},
        {**test, "title": "kd, 0", "against": "kd, all", "mean": -0.75, "low": -2.0, "high": 0.5},
    ]
    lost = {**test, "metric": "lost_accuracy", "title": "kd, 0", "mean": -0.5, "low": -0.75, "high": -0.25}
    content["comparisons"].append({**lost, "against": "plain, 0"})
    text = page(content, tmp_path)
    cells = row(text, "kd, 0", "accuracy on subsets")
    assert (cells["difference"], cells["95 % interval"], cells["p"]) == ("+1.25", "+0.50 to +2.00", "0.0125")
    assert cells["lost, difference"] == "-0.50 (-0.75 to -0.25)"
    assert f"| kd, 0 | kd, all | {SEEDS} | -0.75 | -2.00 to +0.50 | 0.0125 | noise |" in text
    assert "Of 5 comparisons on this task" in text  # Those of subsets are not among them.


def test_what_of_the_gap_is_closed(tmp_path: Path) -> None:
    content = drawn()
    text = page(content, tmp_path)
    assert "Seeing the whole conversation is worth +2.00 points to *plain* (95 % interval +0.50 to +3.50)." in text
    assert "Students that see only the past get back: *kd* 75% (+1.50, +0.90 to +2.10)." in text
    content["comparisons"] = [
        {**test, "low": -1.0} if test["title"] == "plain, all" else test for test in content["comparisons"]
    ]
    text = page(content, tmp_path)
    assert "(95 % interval -1.00 to +3.50, noise): on this corpus there is no gap beyond noise" in text
    assert "get back" not in text


def test_without_a_gap_there_is_nothing_to_close(tmp_path: Path) -> None:
    content = drawn()
    worse = {"mean": -2.0, "low": -3.5, "high": -0.5}
    content["comparisons"] = [
        {**test, **worse} if test["title"] == "plain, all" else test for test in content["comparisons"]
    ]
    assert "(95 % interval -3.50 to -0.50): there is no gap to close." in page(content, tmp_path)


def test_weights_of_hyperedges_at_the_end(tmp_path: Path) -> None:
    cells = row(page(drawn(), tmp_path), "text", "weights at the end")
    assert {cells[title] for title in TITLES} == {f"{0.25 + np.arange(SEEDS).mean() / 100:.3f}"}


def test_weights_of_edges_are_averaged_over_streams(tmp_path: Path) -> None:
    content = drawn()
    for run in content["runs"]:
        del run["weights"]["hypergraph/text"]
        run["weights"] |= {"hypergraph/text>fused": [0.5, 0.2], "hypergraph/text>audio": [0.5, 0.4]}
    assert row(page(content, tmp_path), "text", "weights at the end")["kd, 0"] == "0.300"


def test_plots_depend_on_the_numbers_alone(tmp_path: Path) -> None:
    content = drawn()
    texts = [page(content, tmp_path / "json", tmp_path / name) for name in ("a", "b")]
    assert texts[0] == texts[1] == page(content, tmp_path / "json")
    drawings = {path.name: path.read_bytes() for path in (tmp_path / "a").glob("*.svg")}
    stems = ("talk_talk", "talk_talk_dropout", "talk_talk_lookahead", "talk_talk_weights")
    assert set(drawings) == {f"{stem}.svg" for stem in stems}
    for name, drawing in drawings.items():
        assert drawing == (tmp_path / "b" / name).read_bytes()
        assert f"(results/{name})" in texts[0]
    assert b">commonest class<" in drawings["talk_talk_dropout.svg"]
    assert all(f">{float(rate):.0%}<".replace("%", "").encode() in drawings["talk_talk_dropout.svg"] for rate in RATES)
    assert all(f">{tick}<".encode() in drawings["talk_talk_lookahead.svg"] for tick in ("0", "2", "all"))


@pytest.mark.parametrize("without", ["subsets", "dropout"])
def test_what_no_run_measured_has_no_section(tmp_path: Path, without: str) -> None:
    content = drawn()
    for run in content["runs"]:
        del run["metrics"][without]
    text = page(content, tmp_path)
    assert ("accuracy on subsets" in text) == (without != "subsets")
    assert ("talk_dropout.svg" in text) == (without != "dropout")


def test_without_comparisons_nothing_is_claimed(tmp_path: Path) -> None:
    content = drawn()
    del content["comparisons"]
    text = page(content, tmp_path)
    assert "| gain | above 0 |" in text
    assert "95 %" not in text
    assert "in every seed" in text


def test_nets_over_conversations_have_mean_and_deviation(tmp_path: Path) -> None:
    net = {
        "parameters": 1234,
        "cpu_ms": 0.125,
        "accuracy": [80.0, 84.0],
        "weighted_f1": [80.0, 80.0],
        "acc7": [40.0, 41.0],
    }
    net |= {"mae": [0.25, 0.25], "pearson": [0.7, 0.8]}
    content = {"command": "python -m x", "seeds": 2, "tasks": {"mosi": {"gated": net}}}
    (tmp_path / "conversation_teachers.json").write_text(json.dumps(content))
    row = "| mosi | gated | 1,234 | 0.12 | 82.0 ± 2.8 | 80.0 ± 0.0 | 40.5 ± 0.7 | 0.250 ± 0.000 | 0.750 ± 0.071 |"
    assert row in render(tmp_path)


def test_the_best_teacher_is_one_that_entries_ask(tmp_path: Path) -> None:
    taught = {"teachers": BEST, "methods": ["kd"]}
    alone = replace(SUITE, entries=(*SUITE.entries, Entry("kd", recipe=taught)))
    assert "| good (best single teacher) | 90.0 |" in page(drawn(), tmp_path, suite=alone)
    without = replace(SUITE, entries=(*SUITE.entries, Entry("kd", recipe=taught, without=("good",))))
    text = page(drawn(), tmp_path, suite=without)
    assert "| good | 90.0 |" in text
    assert "| fair (best single teacher) | 80.0 |" in text


def test_a_note_stands_above_the_tables_of_its_task(tmp_path: Path) -> None:
    text = page(drawn(), tmp_path, suite=replace(SUITE, notes={"talk": "Mind the gap.", "other": "Not here."}))
    assert text.index("### talk: talk") < text.index("Mind the gap.") < text.index("| teacher |")
    assert "Not here." not in text


def test_more_lines_than_can_be_told_apart_are_not_plotted(tmp_path: Path) -> None:
    content = drawn()
    more = [{**run, "title": f"{run['title']} again {i}"} for run in content["runs"] for i in (1, 2)]
    content["runs"] += more
    text = page(content, tmp_path)
    assert "mean of three" in text
    assert "talk_dropout.svg" not in text
