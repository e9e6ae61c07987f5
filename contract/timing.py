"""Rates, hops, slots and windows. All time is in integer nanoseconds (`_ns`) or samples at 16 kHz (`_samples`)."""

from typing import Final

NS_PER_S: Final = 1_000_000_000
SAMPLE_RATE: Final = 16_000

HOP_NS: Final = 500_000_000
"""Windows end on every multiple of the hop; audio is encoded once per hop."""
HOP_SAMPLES: Final = 8_000
CONTEXT_SAMPLES: Final = 16_000
"""Left context that the audio encoder sees before a hop: one second, zeros before the start of the session."""
CHUNK_SAMPLES: Final = CONTEXT_SAMPLES + HOP_SAMPLES

WINDOW_NS: Final = 4_000_000_000
WINDOW_SAMPLES: Final = 64_000
HOPS_PER_WINDOW: Final = WINDOW_SAMPLES // HOP_SAMPLES

AUDIO_SLOT_SAMPLES: Final = 1_600
"""An audio embedding stands for 100 ms."""
AUDIO_SLOTS_PER_HOP: Final = HOP_SAMPLES // AUDIO_SLOT_SAMPLES
AUDIO_SLOTS: Final = WINDOW_SAMPLES // AUDIO_SLOT_SAMPLES

VIDEO_SLOT_NS: Final = 200_000_000
VIDEO_SLOTS: Final = WINDOW_NS // VIDEO_SLOT_NS

LATENESS_NS: Final = 300_000_000
"""How far the foremost stream may run ahead before a window is final without the others."""


def ns_to_samples(offset_ns: int, rate: int = SAMPLE_RATE) -> int:
    """Return the sample index nearest to `offset_ns` at `rate` samples per second (ties away from zero)."""
    return (2 * offset_ns * rate + NS_PER_S) // (2 * NS_PER_S)


def samples_to_ns(samples: int, rate: int = SAMPLE_RATE) -> int:
    """Return the start of sample `samples` at `rate`, in nanoseconds, rounded down."""
    return samples * NS_PER_S // rate


def window_end_ns(window: int) -> int:
    """Return the end of window number `window` (the first is 0 and ends after one hop)."""
    return (window + 1) * HOP_NS


def video_slots_of(end_ns: int) -> range:
    """Return the absolute numbers of the slots that a window ending at `end_ns` sees, oldest first.

    Slots lie on one grid of `VIDEO_SLOT_NS` for the whole session, so that a frame belongs to the same slot in every
    window. A window sees the last `VIDEO_SLOTS` slots that begin before its end; slots before the session are negative.
    Of the newest slot it uses the frame only when that frame lies before `end_ns`.
    """
    last = -(-end_ns // VIDEO_SLOT_NS)
    return range(last - VIDEO_SLOTS, last)
