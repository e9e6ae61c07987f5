"""Integer nanoseconds, in which all time here is counted, to and from the wire's `google.protobuf.Duration`."""

from typing import Final

from google.protobuf.duration_pb2 import Duration

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000


def to_duration(offset_ns: int) -> Duration:
    """Return the protobuf duration of a non-negative number of nanoseconds."""
    seconds, nanos = divmod(offset_ns, NS_PER_S)
    return Duration(seconds=seconds, nanos=nanos)


def to_ns(duration: Duration) -> int:
    """Return a protobuf duration in nanoseconds."""
    return duration.seconds * NS_PER_S + duration.nanos


def seconds_to_ns(seconds: float) -> int:
    """Return seconds in nanoseconds, to the nearest microsecond: finer digits of a float mean nothing here."""
    return round(seconds * 1e6) * 1000
