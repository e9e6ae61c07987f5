"""The command line as a user meets it, in processes of its own; without a server here, see tests/end_to_end for one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.exits import Exit, exit_of
from client.media import probe

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}", "COLUMNS": "100", **environment}
    command = [sys.executable, "-m", "client", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe_socket.getsockname()[1]}"


@pytest.mark.parametrize(
    "command", [("stream",), ("stream", "--fast", "--no-video"), ("analyze", "builtin"), ("info",)]
)
def test_an_unreachable_server_is_one_line_and_exit_3(nobody, command):
    done = run(*command, "--server", nobody)
    assert done.returncode == Exit.UNREACHABLE
    assert done.stderr == f"error: no server answers at {nobody} (Connection refused)\n"


def test_the_server_may_be_named_by_the_environment(nobody):
    assert nobody in run("info", MOODSTREAM_SERVER=nobody).stderr


def test_json_ends_with_the_error(nobody):
    done = run("stream", "--json", "--server", nobody)
    line = json.loads(done.stdout)
    assert (line["type"], line["code"]) == ("error", "UNAVAILABLE")
    assert nobody in line["message"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("stream", "no-such.mp4"), "no-such.mp4 can't be read: No such file or directory"),
        (("analyze", "no-such.mp4"), "no-such.mp4 can't be read: No such file or directory"),
        (("stream", __file__), "can't be read: Invalid data"),
        (("stream", "--token-file", "no-such-token"), "no-such-token"),
        (("stream", "--no-audio", "--no-video", "--no-text"), "nothing to send"),
        (("stream", "--chunk-ms", "5"), "--chunk-ms"),
        (("analyze", "builtin", "builtin", "--transcript", "hi"), "--transcript"),
        (("analyze",), "FILE"),
        (("dance",), "No such command"),
    ],
)
def test_what_cannot_be_read_or_understood_is_exit_2(nobody, arguments, complaint):
    done = CliRunner(env={"MOODSTREAM_SERVER": nobody}).invoke(app, arguments)
    assert done.exit_code == Exit.USAGE
    assert complaint in done.stderr


def test_help_documents_every_exit_code():
    for command in ((), ("stream",), ("analyze",), ("info",)):
        text = CliRunner().invoke(app, [*command, "--help"]).stdout
        assert all(f"{code.value}: " in text for code in Exit), command


def test_builtin_writes_a_file_that_can_be_analysed(tmp_path):
    path = tmp_path / "builtin.mp4"
    assert run("builtin", str(path)).returncode == Exit.OK
    found = probe(path)
    assert found.has_audio
    assert found.has_video
    nowhere = str(tmp_path / "no" / "such" / "folder.mp4")
    assert CliRunner().invoke(app, ["builtin", nowhere]).exit_code == Exit.USAGE


def test_only_errors_of_the_client_have_an_exit_code():
    with pytest.raises(TypeError, match="KeyError"):
        exit_of(KeyError("a bug"))
