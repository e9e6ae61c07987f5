import os
import subprocess
import sys

from server.triton.shm import SHM, claim_prefix, sweep_abandoned
from tests.server.triton.processes import regions

OWNER = """
import sys
from server.triton.shm import SHM, claim_prefix
prefix = claim_prefix()
(SHM / (prefix.name + "region")).touch()
print(prefix.name, flush=True)
sys.stdin.read()
"""


def test_release_removes_every_region() -> None:
    prefix = claim_prefix()
    (SHM / f"{prefix.name}region").touch()
    assert len(regions(prefix.name)) == 2
    prefix.release()
    assert not regions(prefix.name)


def test_prefixes_differ_and_name_their_process() -> None:
    one, other = claim_prefix(), claim_prefix()
    assert one.name != other.name
    assert one.name.startswith(f"moodstream-{os.getpid()}-")
    one.release()
    other.release()


def test_only_what_a_dead_process_left_is_swept() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        prefix = owner.stdout.readline().decode().strip()
        assert prefix not in sweep_abandoned()
        assert len(regions(prefix)) == 2
        owner.kill()
        owner.wait()
        sweep_abandoned()
        assert not regions(prefix)


def test_a_prefix_is_in_use_while_a_child_that_inherited_it_lives() -> None:
    prefix = claim_prefix()
    with subprocess.Popen(["sleep", "60"], pass_fds=(prefix.lock_fd,)) as child:
        os.close(prefix.lock_fd)
        assert prefix.name not in sweep_abandoned()
        child.kill()
        child.wait()
    assert prefix.name in sweep_abandoned()
