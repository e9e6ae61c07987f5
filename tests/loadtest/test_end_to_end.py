"""The command line of the load test, with the real server and without any."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadtest.cli import Exit, app

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtest", "sessions", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)


def test_a_spawned_server_is_loaded_measured_and_stopped():
    flags = ("--spawn", "--server-args", "--engine onnxruntime", "--json", "-", "--no-drops", "--max-p99-ms", "0.01")
    done = run("-n", "2", "-s", "2.2", *flags)
    assert done.returncode == Exit.MISSED, done.stderr
    report = json.loads(done.stdout)
    assert (report["engine"], report["sessions"], report["seconds"]) == ("onnxruntime", 2, 2.0)
    assert report["windows"]["expected"] == report["windows"]["final"] == 8
    assert report["first_result"]["count"] == 8
    assert report["messages"]["sent"] == report["messages"]["received"] > 80
    assert report["errors"] == []
    assert report["server"]["cpu_ms_per_session_second"] > 0
    assert report["server"]["peak_rss_mb"] > 50
    assert 0 < report["start"]["ready_s"] < report["start"]["first_result_s"]
    assert len(report["missed"]) == 1
    assert report["missed"][0].startswith("p99 of first results is ")
    assert "missed: p99 of first results" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--server", "127.0.0.1:1"), Exit.NO_SERVER, "no server answers at 127.0.0.1:1"),
        (("--spawn", "--server-args", "--engine steam"), Exit.NO_SERVER, "engine: Input should be"),
        (("--clip", "no-such.mp4"), Exit.USAGE, "no-such.mp4 can't be read"),
        (("--sessions", "0"), Exit.USAGE, "--sessions"),
        (("--pid", "4194301"), Exit.USAGE, "there is no process 4194301"),
    ],
)
def test_exit_codes(arguments, code, complaint):
    done = run(*arguments)
    assert done.returncode == code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_help_documents_every_exit_code():
    text = CliRunner().invoke(app, ["sessions", "--help"]).stdout
    assert all(f"{code.value}: " in text for code in Exit)
