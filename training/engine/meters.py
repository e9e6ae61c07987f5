"""Where a run's time and memory go. Knows clocks and the operating system, nothing of training."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MEMORY_LIMIT_MIB = 8 * 1024
"""What every recipe and suite has to stay under."""


@dataclass
class Stopwatch:
    """Seconds by kind of work; part of the checkpoint, so that a resumed run counts on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """Add the time that the block takes to `kind`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - started

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())

    def shares(self) -> dict[str, float]:
        """Return the part of the total by kind; they sum to 1."""
        return {kind: spent / self.total for kind, spent in self.seconds.items()} if self.total else {}


def peak_memory_mib() -> float:
    """Return the greatest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
