"""What a load test found: one report, as JSON and as tables, and the objectives that it is held against."""

from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtest.metrics import PERCENTILES, LatencyHistogram, Record

LATE_GENERATOR_MS: Final = 10.0
"""A generator whose p99 send lag is above this measures itself as much as the server."""


@dataclass(frozen=True)
class Usage:
    """What the server's processes used, where they could be seen."""

    cpu_ms_per_session_second: float
    peak_rss_mb: float
    pss_mb: float | None
    """Memory at the end of the load with shared pages counted once."""


@dataclass(frozen=True)
class Start:
    """How long a server that was started for the test took, in seconds from the start of its process."""

    ready_s: float
    first_result_s: float


@dataclass(frozen=True)
class Report:
    """Everything that `loadtest sessions` found."""

    target: str
    clips: tuple[str, ...]
    sessions: int
    seconds: float
    engine: str
    record: Record
    generator_cpu_ms_per_session_second: float
    generator_peak_rss_mb: float
    usage: Usage | None = None
    start: Start | None = None

    @property
    def generator_is_late(self) -> bool:
        """Whether the generator could not keep its own schedule."""
        return (self.record.send_lag.percentile_ms(99) or 0.0) > LATE_GENERATOR_MS

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON: `_ms`, `_s` and `_mb` (10^6 bytes) are units, null is not measured."""
        record, usage, start = self.record, self.usage, self.start
        return {
            "target": self.target,
            "engine": self.engine,
            "clips": list(self.clips),
            "sessions": self.sessions,
            "seconds": self.seconds,
            "first_result": record.first.as_dict(),
            "final_result": record.final.as_dict(),
            "windows": {
                "expected": record.expected_windows,
                "final": record.final_windows,
                "missing": record.missing_windows,
                "without_data": record.windows_without_data,
                "late_modalities": record.late_modalities,
                "dropped_modalities": record.dropped_modalities,
            },
            "messages": dict(record.messages),
            "errors": list(record.errors),
            "generator": {
                "send_lag": record.send_lag.as_dict(),
                "write": record.write.as_dict(),
                "is_late": self.generator_is_late,
                "cpu_ms_per_session_second": self.generator_cpu_ms_per_session_second,
                "peak_rss_mb": self.generator_peak_rss_mb,
            },
            "server": None
            if usage is None
            else {
                "cpu_ms_per_session_second": usage.cpu_ms_per_session_second,
                "peak_rss_mb": usage.peak_rss_mb,
                "pss_mb": usage.pss_mb,
            },
            "start": None if start is None else {"ready_s": start.ready_s, "first_result_s": start.first_result_s},
        }


@dataclass(frozen=True)
class Objectives:
    """Service level objectives. None is not asked for."""

    max_p99_ms: float | None = None
    """Of first results, from the intended send time."""
    max_final_p99_ms: float | None = None
    max_rss_mb: float | None = None
    max_start_s: float | None = None
    """From the start of the server's process to a first result."""
    no_drops: bool = False
    """Every window final, no modality dropped, no message late, dropped or rejected."""

    def missed(self, report: Report) -> list[str]:
        """Return a sentence for each objective that the report misses, or can't show."""
        record, usage, start = report.record, report.usage, report.start
        bounds = (
            ("p99 of first results", record.first.percentile_ms(99), self.max_p99_ms, "ms"),
            ("p99 of final results", record.final.percentile_ms(99), self.max_final_p99_ms, "ms"),
            ("peak resident memory of the server", usage.peak_rss_mb if usage else None, self.max_rss_mb, "MB"),
            ("start to first result", start.first_result_s if start else None, self.max_start_s, "s"),
        )
        missed = [
            f"{name} is {'not known' if found is None else f'{found:.1f} {unit}'}, the objective is {bound:g} {unit}"
            for name, found, bound, unit in bounds
            if bound is not None and (found is None or found > bound)
        ]
        drops = {
            "windows missing": record.missing_windows,
            "modalities dropped": record.dropped_modalities,
            **{f"messages {name}": record.messages[name] for name in ("late", "dropped", "rejected")},
        }
        if self.no_drops and any(drops.values()):
            missed.append("drops: " + ", ".join(f"{count} {name}" for name, count in drops.items() if count))
        return missed


def render(report: Report, objectives: Objectives, width: int) -> RenderableType:
    """Return the report for a terminal."""
    parts: list[RenderableType] = [_latencies(report.record), Text(), _facts(report)]
    parts += [Text(f"error: {error}", "red") for error in sorted(set(report.record.errors))]
    if report.generator_is_late:
        lag_ms = report.record.send_lag.percentile_ms(99)
        parts.append(Text(f"the generator was late itself (p99 {lag_ms:.1f} ms): the latencies include that", "yellow"))
    missed = objectives.missed(report)
    parts += [Text(f"missed: {sentence}", "bold red") for sentence in missed]
    if not missed and objectives != Objectives():
        parts.append(Text("every objective met", "green"))
    title = f"[bold]{report.sessions} sessions, {report.seconds:g} s[/] at {report.target} ({report.engine})"
    return Panel(Group(*parts), title=title, title_align="left", width=width, padding=(1, 2))


def _latencies(record: Record) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("ms")
    for column in ("count", *(f"p{percentile:g}" for percentile in PERCENTILES), "max"):
        table.add_column(column, justify="right", min_width=8)
    rows: tuple[tuple[str, LatencyHistogram], ...] = (
        ("first result of a window", record.first),
        ("final result of a window", record.final),
        ("lag of sending", record.send_lag),
        ("duration of a write", record.write),
    )
    for name, histogram in rows:
        values = [*(histogram.percentile_ms(percentile) for percentile in PERCENTILES), histogram.max_ms()]
        table.add_row(name, str(histogram.count), *("-" if value is None else f"{value:.1f}" for value in values))
    return table


def _facts(report: Report) -> Table:
    record, usage, start = report.record, report.usage, report.start
    counts = ", ".join(f"{count} {name}" for name, count in record.messages.items() if count or name == "sent")
    windows = f"{record.final_windows} of {record.expected_windows} final, {record.missing_windows} missing"
    windows += f", {record.late_modalities} modalities late, {record.dropped_modalities} dropped"
    facts = {"windows": windows, "messages": counts}
    if usage is not None:
        pss = "" if usage.pss_mb is None else f" ({usage.pss_mb:.0f} MB with shared pages once)"
        facts["server"] = (
            f"{usage.cpu_ms_per_session_second:.1f} ms CPU per session-second, {usage.peak_rss_mb:.0f} MB resident{pss}"
        )
    facts["generator"] = (
        f"{report.generator_cpu_ms_per_session_second:.1f} ms CPU per session-second, "
        f"{report.generator_peak_rss_mb:.0f} MB resident"
    )
    if start is not None:
        facts["start"] = f"ready after {start.ready_s:.1f} s, first result after {start.first_result_s:.1f} s"
    facts["clips"] = ", ".join(report.clips)
    table = Table.grid(padding=(0, 2))
    for name, text in facts.items():
        table.add_row(Text(name, "dim"), text)
    return table
