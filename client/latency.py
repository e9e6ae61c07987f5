"""Collects latencies of windows and says what is typical and worst."""

import statistics
from dataclasses import dataclass, field

from client.durations import NS_PER_MS


@dataclass
class Latencies:
    """Milliseconds, one value per window."""

    values_ms: list[float] = field(default_factory=list)

    def add(self, latency_ns: int | None) -> None:
        """Add one; None, for a session that is not paced in real time, is passed over."""
        if latency_ns is not None:
            self.values_ms.append(latency_ns / NS_PER_MS)

    def __str__(self) -> str:
        if not self.values_ms:
            return "not measured"
        return f"p50 {statistics.median(self.values_ms):.0f} ms, max {max(self.values_ms):.0f} ms"
