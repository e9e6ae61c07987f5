"""The process between the front end and Triton, which leaves nothing behind however either of them dies.

Run by path as `python -I -S guard.py FOLDER SHM_PREFIX GRACE_S COMMAND...`; it imports nothing of ours. The front end
holds the other end of its standard input:

- end of input (the front end stops Triton, or died, even by SIGKILL): SIGTERM to Triton, after GRACE_S seconds SIGKILL
  to its process group, which the stubs belong to; the private FOLDER is removed;
- SIGTERM to the guard (the front end gives up a Triton that hangs): SIGKILL to that group at once;
- Triton ends by itself: the stubs that it left are killed;
- the guard is killed: the kernel kills Triton (PR_SET_PDEATHSIG), and its stubs notice within two seconds.

But for the last case the shared-memory regions with SHM_PREFIX are removed, and the guard exits with Triton's status.
"""

import contextlib
import ctypes
import os
import selectors
import shutil
import signal
import subprocess
import sys
from enum import Enum
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Order(Enum):
    """Why the guard stopped waiting."""

    STOP = "the front end wants Triton to stop, or is gone"
    KILL = "the front end gives Triton up"
    NONE = "Triton has ended by itself"


def main(folder: str, shm_prefix: str, grace_s: float, command: list[str]) -> int:
    """Run the command to its end and return its exit status, 128 + n for signal n."""
    wakeup = _wakeup_pipe()
    libc = ctypes.CDLL(None)
    # The stubs of a Triton that was killed become children of this process, which can then wait for their end.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Safe here: this process has one thread.
    triton = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    order = _wait_for_order(triton, wakeup)
    if order is Order.STOP:
        triton.terminate()
        try:
            triton.wait(grace_s)
        except subprocess.TimeoutExpired:
            print(f"Triton did not stop within {grace_s:g} s and is killed", file=sys.stderr, flush=True)
    _kill_group(triton)
    for region in Path("/dev/shm").glob(f"{shm_prefix}*"):  # noqa: S108
        # A front end that will start Triton again keeps the lock file, which marks the prefix as its own.
        if order is Order.STOP or not region.name.endswith(".lock"):
            region.unlink(missing_ok=True)
    if order is Order.STOP:
        shutil.rmtree(folder, ignore_errors=True)
    return triton.returncode if triton.returncode >= 0 else 128 - triton.returncode


def _wakeup_pipe() -> int:
    """Return a file descriptor that becomes readable with every signal that matters here."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return read


def _wait_for_order(triton: subprocess.Popen[bytes], wakeup: int) -> Order:
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        while triton.poll() is None:
            for key, _ in selector.select():
                data = os.read(key.fd, 64)
                if key.fd == 0 and not data:
                    return Order.STOP
                if key.fd == wakeup and signal.SIGTERM in data:
                    return Order.KILL
    return Order.NONE


def _kill_group(triton: subprocess.Popen[bytes]) -> None:
    """Kill what is left of Triton's process group and wait until its members are gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(triton.pid, signal.SIGKILL)
    triton.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-triton.pid, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]))
