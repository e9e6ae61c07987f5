"""The client against the real server: the in-process engine, so that it starts in seconds and runs everywhere."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from moodstream.v1.result_pb2 import (
    MODALITY_STATUS_MISSING,
    MODALITY_STATUS_USED,
    SCOPE_UTTERANCE,
    SCOPE_WINDOW,
    SentimentResult,
)
from moodstream.v1.session_pb2 import ENGINE_ONNXRUNTIME, SessionClosed, SessionConfig, SessionStarted

from client import MediaOptions, MoodstreamClient, MoodstreamError, Pacer, builtin_clip
from client.builtin import write_mp4
from client.exits import Exit
from client.local_server import local_server
from loadtest.processes import spawned_server

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target() -> AsyncIterator[str]:
    async with spawned_server(["--engine", "onnxruntime"]) as server:
        yield server.target


@pytest.fixture(scope="module")
def mp4(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "builtin.mp4"
    write_mp4(path)
    return path


def run(target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "client", *arguments, "--server", target]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)


async def messages_of(target, **options):
    async with MoodstreamClient(target) as client:
        clip = builtin_clip(MediaOptions(**options))
        return [message async for message in client.stream(clip, pacer=Pacer(fast=True))]


def finals(messages, scope=SCOPE_WINDOW):
    return [m for m in messages if isinstance(m, SentimentResult) and m.is_final and m.scope == scope]


async def test_the_builtin_clip_uses_all_three_modalities_and_loses_nothing(target):
    messages = await messages_of(target)
    assert isinstance(messages[0], SessionStarted)
    assert messages[0].engine == ENGINE_ONNXRUNTIME
    windows = finals(messages)
    assert [window.index for window in windows] == list(range(18))
    assert all(window.HasField("sentiment") for window in windows)
    used = [[m.status for m in window.modalities].count(MODALITY_STATUS_USED) for window in windows]
    assert used.count(3) >= 16, "between two sentences there may be no word"
    assert len(finals(messages, SCOPE_UTTERANCE)) == 3
    closed = messages[-1]
    assert isinstance(closed, SessionClosed)
    assert [(total.late, total.dropped, total.rejected) for total in closed.totals] == [(0, 0, 0)] * 3
    assert closed.HasField("summary")


async def test_one_modality_is_enough(target):
    windows = finals(await messages_of(target, video=False))
    assert len(windows) == 18
    assert {window.modalities[1].status for window in windows} == {MODALITY_STATUS_MISSING}


async def test_analyze_of_messages_gives_what_the_stream_gave(target):
    windows = finals(await messages_of(target))
    async with MoodstreamClient(target) as client:
        clip = await client.analyze(builtin_clip())
    assert [window.sentiment for window in clip.windows] == pytest.approx([w.sentiment for w in windows], abs=1e-3)


async def test_a_refused_configuration(target):
    async def nothing():
        return
        yield

    async with MoodstreamClient(target) as client:
        with pytest.raises(MoodstreamError, match="INVALID_ARGUMENT"):
            [message async for message in client.stream(nothing(), SessionConfig())]


async def test_json_lines_of_a_stream(target):
    done = run(target, "stream", "--fast", "--json", "--strict")
    assert done.returncode == Exit.OK, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [lines[0]["type"], lines[-1]["type"]] == ["started", "closed"]
    windows = [line for line in lines if line["type"] == "result" and line["scope"] == "window" and line["final"]]
    assert [window["end_s"] for window in windows] == [(number + 1) / 2 for number in range(18)]
    assert windows[9]["words"] == "She loves it, what a wonderful gift!"
    assert set(windows[0]["modalities"]) == {"audio", "video", "text"}
    assert sum(windows[0]["polarities"].values()) == pytest.approx(1, abs=1e-3)


async def test_plain_rows_of_a_file(target, mp4):
    done = run(target, "stream", str(mp4), "--fast", "--transcript", "what a wonderful gift")
    assert done.returncode == Exit.OK, done.stderr
    rows = done.stdout.splitlines()
    assert rows[1].split()[:2] == ["time", "words"]
    assert "what a wonderful gift" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, rows)) <= 100


async def test_files_are_analysed(target, mp4):
    done = run(target, "analyze", str(mp4), "builtin", "--json")
    assert done.returncode == Exit.OK, done.stderr
    file, builtin = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(file["windows"]) == len(builtin["windows"]) == 18
    assert file["windows"][3]["modalities"]["video"]["status"] == "used"
    assert file["windows"][3]["modalities"]["text"]["status"] == "missing"
    assert builtin["summary"]["sentiment"] is not None


async def test_info(target):
    done = run(target, "info", "--json")
    line = json.loads(done.stdout)
    assert (done.returncode, line["engine"]) == (Exit.OK, "onnxruntime")
    assert line["modalities"] == ["audio", "video", "text"]
    assert "fusion" in run(target, "info").stdout


async def test_a_server_that_dies_ends_the_stream_early():
    async with local_server(["--engine", "onnxruntime"]) as server:
        command = [sys.executable, "-m", "client", "stream", "--json", "--server", server.target]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        stream = await asyncio.create_subprocess_exec(*command, **pipes, cwd=ROOT)
        assert stream.stdout is not None
        await stream.stdout.readline()
        server.process.kill()
        out, errors = await stream.communicate()
    assert stream.returncode == Exit.ENDED_EARLY
    assert f"the connection to {server.target} was lost" in errors.decode()
    assert json.loads(out.splitlines()[-1])["type"] == "error"
