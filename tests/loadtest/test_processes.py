import subprocess
import sys

import psutil
import pytest

from loadtest.processes import ProcessTree, ServerError, spawned_server

CHILD = "import time; block = bytearray(80_000_000); print('ready', flush=True); time.sleep(60)"
BUSY = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}])
while time.process_time() < 0.3:
    pass
print("done", flush=True)
time.sleep(60)
"""


def test_cpu_and_memory_of_a_process_and_its_child():
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = {process.stdout.readline().strip(), process.stdout.readline().strip()}
    assert said == {"ready", "done"}
    tree = ProcessTree(process.pid)
    alone = ProcessTree(process.pid, children=False)
    for one in (tree, alone):
        one.look()
    family = tree.processes()
    assert len(family) == 2
    assert 0.3 <= tree.cpu_s < 10
    assert tree.peak_rss_mb >= alone.peak_rss_mb + 80
    pss_mb = tree.pss_mb()
    assert pss_mb is None or 80 <= pss_mb <= tree.peak_rss_mb + 1
    cpu_s, peak_mb = tree.cpu_s, tree.peak_rss_mb
    for member in reversed(family):
        member.kill()
    process.communicate()
    tree.look()
    assert tree.processes() == []
    assert tree.cpu_s >= cpu_s, "the time of processes that have ended is kept"
    assert tree.peak_rss_mb == peak_mb


def test_no_such_process():
    with pytest.raises(psutil.NoSuchProcess):
        ProcessTree(2**22 - 3)


async def test_a_server_is_seen_while_it_runs_and_gone_after():
    async with spawned_server(["--engine", "onnxruntime"]) as server:
        server.tree.look()
        assert server.ready_s > 0
        assert server.tree.peak_rss_mb > 50
    assert server.tree.processes() == []


async def test_a_server_that_dies_is_not_passed_over():
    with pytest.raises(ServerError, match="stopped with code -9"):
        async with spawned_server(["--engine", "onnxruntime"]) as server:
            server.tree.processes()[0].kill()
