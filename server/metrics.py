"""What Prometheus can ask of this process. The names are a promise to dashboards: `docs/operations.md` lists them."""

import asyncio
import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG_PERIOD_S: Final = 0.1

SESSIONS: Final = Gauge("moodstream_sessions", "Sessions and clips that run now.")
MODEL_AVAILABLE: Final = Gauge("moodstream_model_available", "1 while the model answers.", ["model"])
CALLS: Final = Counter("moodstream_sessions_closed", "Sessions that ended, by reason.", ["reason"])
RESULTS: Final = Counter("moodstream_results", "Results that were given out.", ["scope", "scored"])
REJECTED: Final = Counter("moodstream_messages_rejected", "Messages that could not be used, by reason.", ["reason"])
DROPPED: Final = Counter(
    "moodstream_modality_dropped", "Windows that went out without a modality that was there.", ["modality"]
)
STAGE: Final = Histogram(
    "moodstream_stage_seconds", "Time of a window in each stage of the server.", ["stage"], buckets=_LATENCY
)
BATCH: Final = Histogram(
    "moodstream_batch_size", "Items that went to a model in one call.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64)
)
LOOP_LAG: Final = Histogram(
    "moodstream_event_loop_lag_seconds", "By how much the event loop woke up too late.", buckets=_LATENCY
)


async def measure_loop_lag() -> None:
    """Observe ten times a second how late the event loop wakes up, until cancelled."""
    while True:
        started = time.perf_counter()
        await asyncio.sleep(_LAG_PERIOD_S)
        LOOP_LAG.observe(max(0.0, time.perf_counter() - started - _LAG_PERIOD_S))
