"""Random search over a method's own options: what is drawn, what is chosen, and whether a choice means anything.

Every entry gets the same number of trials (Bergstra and Bengio, *Random Search for Hyper-Parameter Optimization*, JMLR
2012). Knows numbers and names only.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Knobs = dict[str, Any]
"""`method.option` -> value."""
_RIM: Final = 0.05
"""Part of a range, on either side, that counts as its edge."""
_TIE: Final = 1e-3


@dataclass(frozen=True)
class Range:
    """What values an option is drawn from."""

    low: float = 0.0
    high: float = 1.0
    """Evenly between their logarithms, or between themselves where `low` isn't above 0."""
    values: tuple[object, ...] = ()
    """In their place: any of these, which have no edge."""
    closed: bool = False
    """Whether nothing lies beyond, as with a probability: then its ends are no edge."""

    def __post_init__(self) -> None:
        if not self.values and not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")

    def at(self, share: float) -> Any:
        """Return the value at a place in [0, 1)."""
        if self.values:
            return self.values[int(share * len(self.values))]
        if self.low > 0:
            return float(f"{self.low * (self.high / self.low) ** share:.4g}")
        return float(f"{self.low + share * (self.high - self.low):.4g}")

    def at_edge(self, value: Any) -> bool:
        """Whether a better value may lie outside."""
        if self.values or self.closed:
            return False
        if self.low > 0:
            place = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            place = (value - self.low) / (self.high - self.low)
        return not _RIM <= place <= 1 - _RIM


@dataclass(frozen=True)
class Search:
    """How options are chosen on validation, the same for every entry that has any."""

    trials: int = 8
    """Of an entry; the first takes the options as they stand."""
    seeds: int = 2
    """A trial's value is the mean over the first so many."""
    part: float = 1.0
    """Of the budget that a trial takes; less than 1 favours what learns fast."""
    knobs: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    """Method, weigher or step -> option -> its range."""

    def __post_init__(self) -> None:
        if self.trials < 1 or self.seeds < 1 or not 0 < self.part <= 1:
            raise ValueError("trials and seeds must be at least 1, and part in (0, 1]")

    def draw(self, ranges: Mapping[str, Range], key: str) -> list[Knobs]:
        """Return the settings that are tried; those of a key are always the same ones, and none without ranges."""
        if not ranges:
            return []
        shares = random.Random(key)  # noqa: S311
        drawn = [{name: one.at(shares.random()) for name, one in ranges.items()} for _ in range(self.trials - 1)]
        return [{}, *drawn]


def edges(knobs: Knobs, ranges: Mapping[str, Range]) -> list[str]:
    """Return the options whose chosen value lies at the edge of its range."""
    return [name for name, value in knobs.items() if name in ranges and ranges[name].at_edge(value)]


def doubt(values: Sequence[float], chance: float, lower_is_better: bool = False) -> str:
    """Return why trials' validation values say nothing about the options: they are all the same, or none is above
    chance. Empty where they do, or where there were none."""
    known = [value for value in values if value == value]
    if len(values) < 2:
        return ""
    if not known:
        return "every trial failed"
    if max(known) - min(known) < _TIE:
        return "its trials are tied"
    best = min(known) if lower_is_better else max(known)
    beaten = best < chance - _TIE if lower_is_better else best > chance + _TIE
    return "" if beaten or chance != chance else "its trials are at chance"
