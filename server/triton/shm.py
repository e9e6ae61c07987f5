"""Names for Triton's shared-memory regions, and the removal of those whose owner is gone.

Regions of a Triton that was killed stay in /dev/shm for ever. Each embedded server therefore uses a prefix of its own
and holds a lock on a file of that name. The kernel drops the lock when the last process that inherited it ends, so a
prefix whose lock is free belongs to nobody; unlike a process id it can't be taken by a stranger, nor differ between
containers that share /dev/shm.
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SHM: Final = Path("/dev/shm")  # noqa: S108 (the place that Triton uses)
_MARKER: Final = "moodstream-"
_LOCK_SUFFIX: Final = ".lock"


@dataclass(frozen=True)
class ShmPrefix:
    """A prefix that this process owns, and every process that inherits `lock_fd`."""

    name: str
    lock_fd: int

    def release(self) -> None:
        """Remove every region of this prefix and give it up."""
        _remove_regions(self.name)
        _lock_path(self.name).unlink(missing_ok=True)
        os.close(self.lock_fd)


def claim_prefix() -> ShmPrefix:
    """Return a new prefix, locked. The process id in it is for people who look at /dev/shm."""
    while True:
        name = f"{_MARKER}{os.getpid()}-{secrets.token_hex(4)}-"
        lock_fd = os.open(_lock_path(name), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if _try_lock(lock_fd) and _lock_path(name).exists():
            return ShmPrefix(name, lock_fd)
        # A sweep came between the two calls and took the new file for an abandoned one.
        os.close(lock_fd)


def sweep_abandoned() -> list[str]:
    """Remove the regions of prefixes that nobody holds any more and return these prefixes."""
    swept = []
    for path in SHM.glob(f"{_MARKER}*{_LOCK_SUFFIX}"):
        try:
            lock_fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            continue  # swept by another process just now, or another user's
        try:
            if _try_lock(lock_fd):
                prefix = path.name.removesuffix(_LOCK_SUFFIX)
                _remove_regions(prefix)
                path.unlink(missing_ok=True)
                swept.append(prefix)
        finally:
            os.close(lock_fd)
    return swept


def _lock_path(prefix: str) -> Path:
    return SHM / f"{prefix}{_LOCK_SUFFIX}"


def _try_lock(lock_fd: int) -> bool:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_regions(prefix: str) -> None:
    for path in SHM.glob(f"{prefix}*"):
        if not path.name.endswith(_LOCK_SUFFIX):
            path.unlink(missing_ok=True)
