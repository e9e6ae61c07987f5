"""What a suite of `bench` consists of: entries on tasks, with equal budgets for all entries of a task.

Knows names only; `bench.runs` runs them, `bench.suites` has those that there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from training.distillation.methods import METHODS

BEST: Final = "BEST"
"""Stands for the single teacher of the entry's pool that is best on validation."""
ALL: Final = "ALL"
"""Stands for all teachers of the entry's pool."""

SCALED: Final[Mapping[str, tuple[str, ...]]] = {name: method.scaled for name, method in METHODS.items()}
"""Options of a method that an entry's factor multiplies."""


@dataclass(frozen=True)
class Entry:
    """A row of a suite's table: a recipe without task, budget and seed."""

    title: str
    family: str = ""
    """Of the catalogue of methods; empty for controls."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """`teachers` may be `BEST` or `ALL` of the suite's pool."""
    factors: tuple[float, ...] = ()
    """Of the first method's weights (see `SCALED`): each is tried on validation: first seeds, a part of the budget."""
    without: tuple[str, ...] = ()
    """Teachers of the pool that this entry does without."""
    tasks: tuple[str, ...] = ()
    """Tasks that have this entry; empty: all of the suite's."""
    recipe_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Task -> options that stand there in the place of the recipe's."""
    line: str = ""
    """Line of the look-ahead curve that this entry is a point of."""
    lookahead: int | None = None
    """Where on it: utterances ahead that the student sees; None: the whole conversation."""


@dataclass(frozen=True)
class Suite:
    """Entries on tasks, with equal budgets for all entries of a task."""

    name: str
    title: str
    question: str
    """What the table answers."""
    pools: Mapping[str, tuple[str, ...]]
    """Task -> the teachers that `BEST` and `ALL` speak of."""
    budgets: Mapping[str, Mapping[str, Any]]
    """Task -> a recipe's `budget`. In `steps`, every entry of a task moves its student equally often; in `epochs`, one
    that holds samples out moves it less often."""
    entries: tuple[Entry, ...]
    control: str
    """Title of the entry that the others are compared with."""
    students: Mapping[str, str] = field(default_factory=dict)
    """Task -> the student that every entry teaches, where it isn't the default one."""
    tuning: float = 1 / 4
    """Part of the steps or epochs that a trial on validation takes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    shows_weights: bool = False
    """Whether the report plots the weights of the teachers, or of edges and hyperedges."""
    base: Mapping[str, Any] = field(default_factory=dict)
    """Options of a recipe that every entry starts from."""
    base_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Task -> options that its entries start from besides."""
    trial_seeds: int = 1
    """How many of the first seeds a trial on validation is run with; what counts is their mean."""
    seeds_of: Mapping[str, int] = field(default_factory=dict)
    """Task -> how many of the first seeds it is run with, where that isn't all."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Task -> what a reader of its tables has to know."""
    tests: bool = False
    """Whether entries are compared by a paired bootstrap over conversations; needs `predictions` in `base`."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Titles that are tested against each other, (this, against that), beside all against the control."""

    def __post_init__(self) -> None:
        if self.tests and not self.base.get("predictions"):
            raise ValueError(f"suite {self.name}: tests need predictions = True in base")
        titles = {entry.title for entry in self.entries}
        unknown = [title for pair in self.pairs for title in pair if title not in titles]
        if unknown:
            raise ValueError(f"suite {self.name}: pairs name an entry {unknown[0]!r} that there is not")

    def entries_of(self, task: str) -> tuple[Entry, ...]:
        """Return the entries that a task has."""
        return tuple(entry for entry in self.entries if task in entry.tasks or not entry.tasks)

    def seeds_for(self, task: str) -> tuple[int, ...]:
        """Return the seeds that a task is run with."""
        return self.seeds[: self.seeds_of.get(task, len(self.seeds))]
