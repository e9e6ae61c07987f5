"""Counts what sessions give out, for `server/metrics.py`."""

from collections.abc import Iterator

from contract.timing import NS_PER_S
from server.live.events import Closed, Event, Rejected, Result
from server.metrics import CALLS, DROPPED, REJECTED, RESULTS, STAGE
from server.session.pieces import Status, WindowPlan


def observe(event: Event) -> None:
    """Count an event of a session on its way out."""
    if isinstance(event, Result):
        scope = "window" if isinstance(event.plan, WindowPlan) else "utterance"
        RESULTS.labels(scope, str(event.fused is not None).lower()).inc()
        for stage, duration_ns in _stages(event):
            STAGE.labels(stage).observe(duration_ns / NS_PER_S)
        for modality, view in event.views.items():
            if view.status is Status.DROPPED:
                DROPPED.labels(str(modality)).inc()
    elif isinstance(event, Rejected):
        REJECTED.labels(str(event.failure.reason).lower()).inc()
    elif isinstance(event, Closed):
        CALLS.labels(str(event.reason).lower()).inc()


def _stages(result: Result) -> Iterator[tuple[str, int]]:
    timings = result.timings
    yield "decode", timings.decode_ns
    yield "encode", timings.encode_ns
    yield "fuse", timings.fuse_ns
    yield "total", timings.decode_ns + timings.encode_ns + timings.fuse_ns
