import io
import json

import pytest
from rich.console import Console

from loadtest.metrics import Record
from loadtest.report import Objectives, Report, Start, Usage, render


def report(usage=None, start=None, latency_ms=20.0, **counts) -> Report:
    record = Record(sessions=2, expected_windows=4, final_windows=4, **counts)
    for histogram in (record.first, record.final, record.send_lag):
        histogram.record(int(latency_ms * 1e6))
    return Report("here:1", ("builtin",), 2, 1.0, "triton", record, 3.0, 100.0, usage, start)


GOOD = report(Usage(10.0, 500.0, None), Start(2.0, 3.0))


def test_everything_met():
    objectives = Objectives(max_p99_ms=150, max_final_p99_ms=150, max_rss_mb=900, max_start_s=10, no_drops=True)
    assert objectives.missed(GOOD) == []


@pytest.mark.parametrize(
    ("objectives", "sentence"),
    [
        (Objectives(max_p99_ms=10), "p99 of first results is 20.0 ms, the objective is 10 ms"),
        (Objectives(max_final_p99_ms=10), "p99 of final results is 20.0 ms"),
        (Objectives(max_rss_mb=400), "peak resident memory of the server is 500.0 MB, the objective is 400 MB"),
        (Objectives(max_start_s=1), "start to first result is 3.0 s"),
    ],
)
def test_a_missed_objective_is_named(objectives, sentence):
    missed = objectives.missed(GOOD)
    assert len(missed) == 1
    assert missed[0].startswith(sentence)


def test_what_was_not_measured_is_missed():
    missed = Objectives(max_rss_mb=900, max_start_s=10).missed(report())
    assert [("not known" in sentence) for sentence in missed] == [True, True]


@pytest.mark.parametrize("name", ["late", "dropped", "rejected"])
def test_lost_messages_are_drops(name):
    lost = report()
    lost.record.messages[name] = 3
    assert Objectives(no_drops=True).missed(lost) == [f"drops: 3 messages {name}"]
    assert Objectives().missed(lost) == []


def test_lost_windows_are_drops():
    lost = report(dropped_modalities=1)
    lost.record.final_windows = 2
    assert Objectives(no_drops=True).missed(lost) == ["drops: 2 windows missing, 1 modalities dropped"]


def test_json_has_stable_keys():
    data = json.loads(json.dumps(GOOD.as_dict(), allow_nan=False))
    assert set(data) == {
        "target", "engine", "clips", "sessions", "seconds", "first_result", "final_result", "windows", "messages",
        "errors", "generator", "server", "start",
    }  # fmt: skip
    assert set(data["first_result"]) == {"count", "p50_ms", "p90_ms", "p99_ms", "max_ms"}
    assert data["server"] == {"cpu_ms_per_session_second": 10.0, "peak_rss_mb": 500.0, "pss_mb": None}
    assert data["start"] == {"ready_s": 2.0, "first_result_s": 3.0}
    assert report().as_dict()["server"] is None


def drawn(report: Report, objectives: Objectives) -> str:
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(render(report, objectives, 110))
    return console.export_text()


def test_the_table_says_what_was_missed_and_that_the_generator_was_late():
    text = drawn(GOOD, Objectives(max_p99_ms=10))
    assert GOOD.generator_is_late
    assert "the generator was late itself" in text
    assert "missed: p99 of first results is 20.0 ms" in text


def test_the_table_says_that_every_objective_was_met():
    good = report(latency_ms=1.0)
    assert not good.generator_is_late
    assert "every objective met" in drawn(good, Objectives(max_p99_ms=10))
    assert "objective" not in drawn(good, Objectives())
