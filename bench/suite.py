"""Suites: which entries run on which tasks, with equal budgets. Read from TOML; `bench/suites/` has ours.

A suite names any task and any teachers, those of installed packages and of one's own folder too.
"""

import copy
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from bench.search import Knobs, Range, Search
from training.distillation import METHODS, STEPS, WEIGHERS
from training.engine.recipe import recipe_of
from training.engine.tables import RecipeError, Table, from_table, join
from training.names import nearest

FOLDER: Final = Path(__file__).parent / "suites"
KNOBS: Final = Path(__file__).parent / "knobs.toml"
BEST: Final = "BEST"
"""Stands for the single teacher of the task that is best on validation."""
ALL: Final = "ALL"
"""Stands for all teachers of the task."""
_EACH: Final = "{each}"


@dataclass(frozen=True)
class Entry:
    """A row of a suite's table: a recipe without task, budget and seed."""

    title: str
    family: str = ""
    """Of the catalogue of methods; empty for controls."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """`teachers` may be `BEST` or `ALL`."""
    without: tuple[str, ...] = ()
    """Teachers of the task that this entry does without."""
    tasks: tuple[str, ...] = ()
    """Tasks that have this entry; empty: all of the suite's."""
    recipe_of: Mapping[str, Any] = field(default_factory=dict)
    """Task -> options that stand there in the place of the recipe's."""
    line: str = ""
    """Line of the look-ahead curve that this entry is a point of."""
    lookahead: int = -1
    """Where on it: utterances ahead that the student sees; -1: the whole conversation."""
    each: tuple[str, ...] = ()
    """Makes an entry for each of these names, or for each method of `family A`, in the place of `{each}`."""


@dataclass(frozen=True)
class TaskPlan:
    """How a suite runs on one task."""

    teachers: tuple[str, ...] = ()
    """What `BEST` and `ALL` speak of."""
    budget: Mapping[str, Any] = field(default_factory=dict)
    """A recipe's `budget`, the same for every entry."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Options of a recipe that every entry starts from here."""
    seeds: int = 0
    """In the place of the suite's."""
    note: str = ""
    """What a reader of its tables has to know."""


@dataclass(frozen=True)
class Suite:
    """Entries on tasks, with equal budgets for all entries of a task."""

    name: str
    title: str
    question: str
    """What the tables answer."""
    control: str
    """Title of the entry that the others are compared with."""
    tasks: Mapping[str, TaskPlan]
    entries: tuple[Entry, ...]
    seeds: int = 3
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Options of a recipe that every entry starts from."""
    search: Search = field(default_factory=Search)
    pairs: tuple[tuple[str, ...], ...] = ()
    """Titles that are tested against each other, (this, against that), beside all against the control."""
    shows_weights: bool = False
    """Whether the page shows the weights of teachers, or of edges and hyperedges."""

    def __post_init__(self) -> None:
        titles = [entry.title for entry in self.entries]
        for title in (self.control, *(title for pair in self.pairs for title in pair)):
            if title not in titles:
                raise RecipeError(f"suite {self.name}: no entry {title!r}; {nearest(title, titles)}")
        if len(set(titles)) < len(titles):
            twice = next(title for title in titles if titles.count(title) > 1)
            raise RecipeError(f"suite {self.name}: two entries are called {twice!r}")

    def entries_of(self, task: str) -> tuple[Entry, ...]:
        """Return the entries that a task has."""
        return tuple(entry for entry in self.entries if task in entry.tasks or not entry.tasks)

    def seeds_of(self, task: str) -> range:
        """Return the seeds that a task is run with."""
        return range(self.tasks[task].seeds or self.seeds)

    def recipe_for(self, entry: Entry, task: str, teachers: list[str], seed: int, scale: float = 1.0) -> Table:
        """Return the recipe of an entry's run.

        Args:
            entry, task: what is run.
            teachers: in the place of `BEST` or `ALL`.
            seed: of the run.
            scale: factor of the budget's steps or epochs.
        """
        plan = self.tasks[task]
        layers = (self.recipe, plan.recipe, entry.recipe, entry.recipe_of.get(task, {}))
        recipe: Table = {"predictions": True}
        for layer in layers:
            recipe |= copy.deepcopy(dict(layer))
        budget = dict(plan.budget)
        if "steps" in budget:
            budget["steps"] = max(1, round(scale * budget["steps"]))
        elif "epochs" in budget:
            budget["epochs"] *= scale
        if recipe.get("teachers") in (ALL, BEST):
            recipe["teachers"] = teachers
        return recipe_of({**recipe, "task": task, "name": entry.title, "budget": budget, "seed": seed}).table()

    def ranges_of(self, entry: Entry, task: str) -> dict[str, Range]:
        """Return the ranges of the options of what an entry uses, by `name.option`."""
        if self.search.trials < 2:
            return {}
        ranges: dict[str, Range] = {}
        for choice in choices_of(self.recipe_for(entry, task, ["any"], 0)):
            name = choice["name"]
            knobs = self.search.knobs.get(name, {})
            if name in METHODS and not knobs:
                defaults = METHODS[name].Config()
                values = {option: float(getattr(defaults, option)) for option in METHODS[name].scaled}
                knobs = {option: Range(value / 10, 10 * value) for option, value in values.items() if value > 0}
            ranges |= {f"{name}.{option}": one for option, one in knobs.items()}
        return ranges


def with_knobs(recipe: Table, knobs: Knobs) -> Table:
    """Return a recipe with options set, each wherever what it belongs to is used."""
    changed = copy.deepcopy(recipe)
    for knob, value in knobs.items():
        name, _, option = knob.partition(".")
        for choice in choices_of(changed):
            if choice["name"] == name:
                choice[option] = value
    return changed


def suites() -> dict[str, Suite]:
    """Return ours, by name."""
    return {path.stem: read_suite(path) for path in sorted(FOLDER.glob("*.toml"))}


def read_suite(path: Path) -> Suite:
    """Read a suite's file.

    Raises:
        RecipeError: no such file, no TOML, or what a suite hasn't got; says which file and where in it.
    """
    try:
        return suite_of(path.stem, tomllib.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error


def suite_of(name: str, table: Mapping[str, Any]) -> Suite:
    """Make a suite from a table; raises RecipeError."""
    table = dict(table)
    search = dict(table.pop("search", {}))
    common = tomllib.loads(KNOBS.read_text())
    knobs = {
        owner: {
            option: from_table(
                Range, {"values": one} if isinstance(one, list) else one, f"search.knobs.{owner}.{option}"
            )
            for option, one in options.items()
        }
        for owner, options in {**common, **search.pop("knobs", {})}.items()
    }
    for owner, options in knobs.items():
        for option in options:
            if option not in _options(owner):
                raise RecipeError(f"search.knobs.{owner}.{option}: no such option; {nearest(option, _options(owner))}")
    tasks = {task: from_table(TaskPlan, plan, join("tasks", task)) for task, plan in table.pop("tasks", {}).items()}
    entries = [from_table(Entry, one, f"entries.{i}") for i, one in enumerate(table.pop("entries", []))]
    pairs = tuple(tuple(pair) for pair in table.pop("pairs", []))
    whole = from_table(
        Suite,
        {
            **table,
            "name": name,
            "tasks": tasks,
            "entries": tuple(one for entry in entries for one in _expanded(entry)),
            "search": replace(from_table(Search, search, "search"), knobs=knobs),
        },
    )
    return replace(whole, pairs=pairs)


def _expanded(entry: Entry) -> Iterator[Entry]:
    names = [
        name
        for one in entry.each
        for name in ([m for m in METHODS if METHODS[m].family == one[7:]] if one.startswith("family ") else [one])
    ]
    for name in names:
        yield replace(entry, title=entry.title.replace(_EACH, name), recipe=_filled(dict(entry.recipe), name), each=())
    if not entry.each:
        yield entry


def _filled(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return value.replace(_EACH, name)
    if isinstance(value, Mapping):
        return {key: _filled(one, name) for key, one in value.items()}
    return [_filled(one, name) for one in value] if isinstance(value, list) else value


def choices_of(recipe: Table) -> list[Table]:
    """Return the tables of a recipe that name a method, a weigher or a step."""
    return [*recipe.get("methods", []), recipe.get("weigher", {"name": "uniform"}), *recipe.get("step", [])]


def _options(name: str) -> set[str]:
    """Options of whatever is called so: names are unique within a kind only."""
    found = [registry[name] for registry in (METHODS, WEIGHERS, STEPS) if name in registry]
    if not found:
        raise RecipeError(f"search.knobs: {name!r} is unknown; {nearest(name, [*METHODS, *WEIGHERS, *STEPS])}")
    return {option.name for cls in found for option in fields(cls.Config)}
