"""What a load test counts: latency histograms, and one record per session that adds up to one for all."""

from dataclasses import dataclass, field
from typing import Any, Final

from hdrh.histogram import HdrHistogram

_NS_PER_US: Final = 1000
_MAX_US: Final = 120_000_000
_DIGITS: Final = 3
PERCENTILES: Final = (50.0, 90.0, 99.0)


class LatencyHistogram:
    """Latencies from 1 us to two minutes, to three digits; longer ones count as two minutes."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _MAX_US, _DIGITS)

    @property
    def count(self) -> int:
        """How many were recorded."""
        return int(self._histogram.get_total_count())

    def record(self, latency_ns: int) -> None:
        """Record one."""
        self._histogram.record_value(min(_MAX_US, max(1, latency_ns // _NS_PER_US)))

    def percentile_ms(self, percentile: float) -> float | None:
        """Return the latency that `percentile` percent do not exceed; None of nothing."""
        return self._histogram.get_value_at_percentile(percentile) / 1000 if self.count else None

    def max_ms(self) -> float | None:
        """Return the longest; None of nothing."""
        return self._histogram.get_max_value() / 1000 if self.count else None

    def add(self, other: "LatencyHistogram") -> None:
        """Add another histogram's values."""
        self._histogram.add(other._histogram)

    def as_dict(self) -> dict[str, Any]:
        """Return `count`, `p50_ms`, `p90_ms`, `p99_ms` and `max_ms`."""
        percentiles = {f"p{percentile:g}_ms": self.percentile_ms(percentile) for percentile in PERCENTILES}
        return {"count": self.count, **percentiles, "max_ms": self.max_ms()}


@dataclass
class Record:
    """What one session, or all of them together, saw. Messages are counted by the server's totals."""

    first: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From the intended send time of a window's last sample to its first result."""
    final: LatencyHistogram = field(default_factory=LatencyHistogram)
    """The same to its final result."""
    send_lag: LatencyHistogram = field(default_factory=LatencyHistogram)
    """How late the generator was with each message."""
    write: LatencyHistogram = field(default_factory=LatencyHistogram)
    """How long each write took: long ones mean that the server holds back."""
    sessions: int = 0
    expected_windows: int = 0
    final_windows: int = 0
    windows_without_data: int = 0
    late_modalities: int = 0
    """Final windows times modalities whose data had not arrived."""
    dropped_modalities: int = 0
    """Final windows times modalities that could not be encoded."""
    messages: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("sent", "received", "used", "skipped", "late", "dropped", "rejected"), 0)
    )
    errors: list[str] = field(default_factory=list)

    @property
    def missing_windows(self) -> int:
        """Windows that never got a final result."""
        return self.expected_windows - self.final_windows

    def add(self, other: "Record") -> None:
        """Add another record."""
        for mine, others in (
            (self.first, other.first),
            (self.final, other.final),
            (self.send_lag, other.send_lag),
            (self.write, other.write),
        ):
            mine.add(others)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, count in other.messages.items():
            self.messages[name] += count
        self.errors += other.errors


_COUNTS: Final = (
    "sessions",
    "expected_windows",
    "final_windows",
    "windows_without_data",
    "late_modalities",
    "dropped_modalities",
)
