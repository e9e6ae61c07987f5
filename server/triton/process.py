"""One run of the Triton process, behind its guard."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from server.triton import guard
from server.triton.log import TritonLog
from server.triton.shm import ShmPrefix

_GRACE_S: Final = 6.0
"""From SIGTERM to SIGKILL; Triton gives itself half of it."""
_GUARD_S: Final = 9.0
"""Until the guard itself is given up."""
_LINE_LIMIT: Final = 1 << 20


class TritonProcess:
    """A running Triton. Its standard output and error go to a `TritonLog`; `start` makes one."""

    def __init__(self, process: asyncio.subprocess.Process, log: TritonLog) -> None:
        self._process = process
        self._reader = asyncio.create_task(_read_lines(process, log), name="triton-log")

    @classmethod
    async def start(
        cls, command: Sequence[str], env: Mapping[str, str], folder: Path, prefix: ShmPrefix, log: TritonLog
    ) -> "TritonProcess":
        """Start Triton in a session of its own: the terminal's Ctrl-C must not reach it before the drain is over."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", guard.__file__, str(folder), prefix.name, str(_GRACE_S)),
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            start_new_session=True,
            pass_fds=(prefix.lock_fd,),
            limit=_LINE_LIMIT,
        )
        return cls(process, log)

    @property
    def running(self) -> bool:
        """False once Triton and its stubs are gone."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait until Triton has ended and its output is read; return its exit status (128 + n: signal n)."""
        status = await self._process.wait()
        await asyncio.wait([self._reader], timeout=1)
        return status

    def kill(self) -> None:
        """Kill a Triton that hangs, with its stubs; `wait` tells when they are gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()  # the guard's order to kill

    async def stop(self) -> None:
        """Stop Triton and its stubs; returns within 10 s with nothing left running."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_GUARD_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._reader.cancel()
        await asyncio.wait([self._reader])


async def _read_lines(process: asyncio.subprocess.Process, log: TritonLog) -> None:
    assert process.stdout is not None
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:
            continue  # longer than the limit: dropped by the reader
        if not line:
            return
        log.take(line.decode(errors="replace"))
