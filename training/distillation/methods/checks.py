"""Checks of hyper-parameters, for the `__post_init__` of every Config: a wrong value is refused by name.

Knows nothing of tensors.
"""

import math
from collections.abc import Sequence
from typing import Any

Layers = tuple[tuple[str, str], ...]
"""Pairs (student layer, teacher layer), as in `training.distillation.methods.matching`."""


def number(config: Any, field: str, *, above: float | None = None, least: float | None = None) -> None:
    """Require a finite number, greater than `above` and not less than `least`.

    Raises:
        TypeError: not a number.
        ValueError: out of range.
    """
    value = getattr(config, field)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{field} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{field} must be finite, got {value!r}")
    if above is not None and not value > above:
        raise ValueError(f"{field} must be greater than {above:g}, got {value!r}")
    if least is not None and not value >= least:
        raise ValueError(f"{field} must be at least {least:g}, got {value!r}")


def count(config: Any, field: str, *, least: int = 1) -> None:
    """Require a whole number, not less than `least`; raises TypeError or ValueError."""
    value = getattr(config, field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{field} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{field} must be at least {least}, got {value}")


def choice(config: Any, field: str, choices: Sequence[str]) -> None:
    """Require one of `choices`; raises ValueError."""
    value = getattr(config, field)
    if value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(choices)}, got {value!r}")


def layers(config: Any, field: str = "layers") -> None:
    """Require pairs of layer names, and turn the lists of a recipe into tuples in place; raises TypeError."""
    value = getattr(config, field)
    pairs = tuple(tuple(pair) if isinstance(pair, (list, tuple)) else pair for pair in value)
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise TypeError(f"{field} must hold pairs (student layer, teacher layer), got {pair!r}")
    object.__setattr__(config, field, pairs)  # The Config is frozen, and still being made.
