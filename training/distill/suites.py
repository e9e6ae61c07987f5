"""The suites of `bench`, as literal data: which runs, on which tasks, with which budget, and what is tried on
validation.

Knows names only; `training.distill.bench` runs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

BEST: Final = "BEST"
"""Stands for the single teacher of the entry's pool that is best on validation."""
ALL: Final = "ALL"
"""Stands for all teachers of the entry's pool."""


@dataclass(frozen=True)
class Entry:
    """A row of a suite's table: a recipe without task, budget and seed."""

    title: str
    family: str = ""
    """Of the catalogue of methods; empty for controls."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """`teachers` may be `BEST` or `ALL` of the suite's pool."""
    factors: tuple[float, ...] = ()
    """Of the first method's default weights: each is tried on validation: first seed, a part of the steps."""
    scaled: tuple[str, ...] = ("weight",)
    """Options of the first method that a factor multiplies."""
    without: tuple[str, ...] = ()
    """Teachers of the pool that this entry does without."""
    tasks: tuple[str, ...] = ()
    """Tasks that have this entry; empty: all of the suite's."""
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
    """Task -> a recipe's `budget`; in steps, so that every entry of a task moves its student equally often."""
    entries: tuple[Entry, ...]
    control: str
    """Title of the entry that the others are compared with."""
    students: Mapping[str, str] = field(default_factory=dict)
    """Task -> the student that every entry teaches, where it isn't the default one."""
    tuning: float = 1 / 4
    """Part of the steps that a trial on validation takes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    shows_weights: bool = False
    """Whether the report plots the weights of the teachers."""
    base: Mapping[str, Any] = field(default_factory=dict)
    """Options of a recipe that every entry starts from."""
    trial_seeds: int = 1
    """How many of the first seeds a trial on validation is run with; what counts is their mean."""
    seeds_of: Mapping[str, int] = field(default_factory=dict)
    """Task -> how many of the first seeds it is run with, where that isn't all."""
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


_LOGITS: Final = (0.3, 1.0, 3.0)
_FEATURES: Final = (0.01, 0.1, 1.0)
_STEPS: Final = {
    "ravdess": {"steps": 400, "batch": 64, "learning_rate": 4e-3, "evaluations": 8},
    "fer2013": {"steps": 500, "batch": 32, "learning_rate": 2e-3, "evaluations": 4},
    "sst2": {"steps": 300, "batch": 32, "learning_rate": 2e-3, "evaluations": 5},
}
_STUDENTS: Final = {"ravdess": "gru", "sst2": "warm"}
"""Those that learn most in the time."""
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    # These compare positions, and the last feature has none.
    "attention": {"layers": [["h2", "h2"]]},
    "nst": {"layers": [["h2", "h2"]]},
}
_SCALED: Final = {
    "dkd": ("alpha", "beta"),
    "dist": ("beta", "gamma"),
    "rkd": ("distance_weight", "angle_weight"),
}


def _one(name: str, family: str, factors: tuple[float, ...]) -> Entry:
    """A method of one teacher, the best, beside the labels."""
    recipe = {"teachers": BEST, "methods": [{"name": name, **_OPTIONS.get(name, {})}]}
    return Entry(name, family, recipe, factors, _SCALED.get(name, ("weight",)))


def _weighed(name: str) -> Entry:
    """`kd` from all teachers, weighed."""
    return Entry(name, "D", {"teachers": ALL, "methods": [{"name": "kd"}], "weigher": name}, _LOGITS)


def _stepped(name: str) -> Entry:
    """`kd` from the best teacher, with an outer step."""
    return Entry(name, "D", {"teachers": BEST, "methods": [{"name": "kd"}], "step": name}, _LOGITS)


UNIMODAL: Final = Suite(
    "unimodal",
    "Every method of families A to D, one modality",
    "Which methods make the student better than labels alone do?",
    {
        "ravdess": ("whisper", "speech_embedding", "resemblyzer", "egemaps"),
        "fer2013": ("cnn", "cnn_small", "fer"),
        "sst2": ("minilm", "aclsa", "vader", "nade"),
    },
    _STEPS,
    (
        Entry("plain"),
        Entry("kd, all teachers equally", "", {"teachers": ALL, "methods": [{"name": "kd"}]}, _LOGITS),
        *(_one(name, "A", _LOGITS) for name in ("kd", "dkd", "dist", "logit_std", "score")),
        *(_one(name, "B", _FEATURES) for name in ("fitnet", "attention", "nst", "vid", "crd")),
        *(_one(name, "C", _FEATURES) for name in ("rkd", "sp", "cc", "pkt")),
        Entry("ekd", "D", {"teachers": ALL, "methods": [{"name": "ekd"}]}, _FEATURES),
        *(_weighed(name) for name in ("entropy", "confidence", "attention_select", "meta")),
        *(_stepped(name) for name in ("meta_teacher", "reweight")),
    ),
    "plain",
    _STUDENTS,
)

_STRONG: Final = {"name": "kd", "weight": 3.0}
"""Leans on teachers enough for a bad one to do harm."""
_EASY_TOO: Final = {"name": "meta", "buffer_size": 100_000}
"""A buffer that never fills keeps easy held-out samples as well. On hard ones alone, where the student is certain and
wrong, whatever makes it less certain helps, and nobody does that better than a teacher who answers at random."""

BAD_TEACHER: Final = Suite(
    "bad_teacher",
    "One teacher is random",
    "Do learned and computed weights notice a teacher that answers at random, and does that help?",
    {"ravdess": ("whisper", "resemblyzer", "random")},
    {"ravdess": {**_STEPS["ravdess"], "steps": 800}},
    (
        Entry("plain"),
        Entry("uniform, without the random teacher", "", {"teachers": ALL, "methods": [_STRONG]}, without=("random",)),
        Entry("uniform", "", {"teachers": ALL, "methods": [_STRONG]}),
        Entry("confidence", "D", {"teachers": ALL, "methods": [_STRONG], "weigher": "confidence"}),
        Entry(
            "attention_select",
            "D",
            {"teachers": ALL, "methods": [_STRONG], "weigher": {"name": "attention_select", "learn_from": "labels"}},
        ),
        Entry(
            "attention_select, the paper's loss",
            "D",
            {"teachers": ALL, "methods": [_STRONG], "weigher": "attention_select"},
        ),
        Entry("meta", "D", {"teachers": ALL, "methods": [_STRONG], "weigher": "meta"}),
        Entry(
            "meta, easy samples too",
            "D",
            {"teachers": ALL, "methods": [_STRONG], "weigher": "meta", "step": [_EASY_TOO]},
        ),
    ),
    "uniform",
    _STUDENTS,
    seeds=(0, 1, 2, 3, 4),
    shows_weights=True,
)

PRIVILEGED: Final = Suite(
    "privileged",
    "A teacher that sees what the student never will",
    "Does a teacher over facial action units, beside the audio teachers, make an audio-only student better?",
    {"ravdess": ("whisper", "speech_embedding", "resemblyzer", "egemaps", "action_units")},
    {"ravdess": _STEPS["ravdess"]},
    (
        Entry("plain"),
        *(
            Entry(
                f"audio{' + action units' if seen else ''}, {weigher}",
                "D",
                {"teachers": ALL, "methods": ["kd"], "weigher": weigher},
                without=() if seen else ("action_units",),
            )
            for weigher in ("uniform", "confidence", "attention_select")
            for seen in (False, True)
        ),
        Entry(
            "action units alone",
            "",
            {"teachers": ALL, "methods": ["kd"]},
            without=("whisper", "speech_embedding", "resemblyzer", "egemaps"),
        ),
    ),
    "audio, uniform",
    _STUDENTS,
    seeds=(0, 1, 2, 3, 4),
)

_ATTENTION: Final = {"name": "attention_select", "learn_from": "meta"}
_OUTER: Final = {"name": "meta", "every": 2, "batch_size": 4, "buffer_size": 16}


def _directions(structure: str, weigher: str | Mapping[str, Any], outer: bool) -> Mapping[str, Any]:
    """All teachers over a structure whose edges are weighed; with `outer`, by what held-out videos teach."""
    recipe = {"teachers": ALL, "methods": [{"name": structure, "edges": "weigher"}], "weigher": weigher}
    return {**recipe, "step": [_OUTER]} if outer else recipe


FUTURE: Final = Suite(
    "future",
    "Three directions at once, and each taken away",
    "Attention over hyperedges that held-out videos teach (docs/future.md): what does each of the three contribute?",
    {"mosi": ("bc_lstm", "mult", "hypergraph")},
    # As many steps as 40 epochs are where a tenth of the videos is held out.
    {"mosi": {"steps": 160, "batch": 10, "learning_rate": 2e-3, "patience": 8}},
    (
        Entry("plain"),
        Entry("kd, uniform", "A", {"teachers": ALL, "methods": ["kd"]}),
        Entry("future", "E", _directions("hypergraph", _ATTENTION, outer=True)),
        Entry("without the hypergraph: graph", "E", _directions("graph", _ATTENTION, outer=True)),
        Entry(
            "without meta-learning",
            "E",
            _directions("hypergraph", {**_ATTENTION, "learn_from": "labels"}, outer=False),
        ),
        Entry("without attention", "E", _directions("hypergraph", "meta", outer=True)),
        Entry("uniform", "E", _directions("hypergraph", "uniform", outer=False)),
    ),
    "uniform",
    seeds=tuple(range(20)),
    shows_weights=True,
    base={"predictions": True},
    tests=True,
    pairs=(
        ("future", "without the hypergraph: graph"),
        ("future", "without meta-learning"),
        ("future", "without attention"),
        ("future", "kd, uniform"),
        ("future", "plain"),
    ),
)

SUITES: Final[Mapping[str, Suite]] = {suite.name: suite for suite in (UNIMODAL, BAD_TEACHER, PRIVILEGED, FUTURE)}
