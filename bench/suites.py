"""The suites of `bench`, as literal data: which runs, on which tasks, with which budget, and what is tried on
validation.

Knows names only; `bench.runs` runs them.
"""

from collections.abc import Mapping
from typing import Any, Final

from bench.modality_suites import CAUSAL, MISSING, MOSI, NOTES
from bench.suite import ALL, BEST, Entry, Suite

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

_TASKS: Final = {"logit_std": ("ravdess", "fer2013")}
"""It needs more than two classes."""


def _one(name: str, family: str, factors: tuple[float, ...]) -> Entry:
    """A method of one teacher, the best, beside the labels."""
    recipe = {"teachers": BEST, "methods": [{"name": name, **_OPTIONS.get(name, {})}]}
    return Entry(name, family, recipe, factors, tasks=_TASKS.get(name, ()))


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

_HEARD: Final = ("whisper", "speech_embedding", "resemblyzer", "egemaps")
_WHOLE: Final = (0.1, 1.0)
"""Of methods whose default weights are made for losses of another size than that of the labels."""


def _alone(teacher: str, name: str, factors: tuple[float, ...] = ()) -> Entry:
    """A method of one teacher: of the one that hears and sees, or of the best that only hears."""
    others = tuple(other for other in (*_HEARD, "action_units", "audio_visual") if other != teacher)
    title = f"{'audio + action units in one net' if teacher == 'audio_visual' else f'{teacher} alone'}, {name}"
    recipe = {"teachers": ALL, "methods": [{"name": name}]}
    return Entry(title, "E", recipe, factors, without=others)


PRIVILEGED: Final = Suite(
    "privileged",
    "A teacher that sees what the student never will",
    "Does a teacher over facial action units make an audio-only student better: beside the audio teachers, or when it "
    "hears as well and teaches across modalities?",
    {"ravdess": (*_HEARD, "action_units", "audio_visual")},
    {"ravdess": _STEPS["ravdess"]},
    (
        Entry("plain"),
        *(
            Entry(
                f"audio{' + action units' if seen else ''}, {weigher}",
                "D",
                {"teachers": ALL, "methods": ["kd"], "weigher": weigher},
                without=("audio_visual",) if seen else ("action_units", "audio_visual"),
            )
            for weigher in ("uniform", "confidence", "attention_select")
            for seen in (False, True)
        ),
        Entry("action units alone", "", {"teachers": ALL, "methods": ["kd"]}, without=(*_HEARD, "audio_visual")),
        *(_alone(teacher, "kd") for teacher in ("whisper", "audio_visual")),
        *(_alone(teacher, "cmd", _WHOLE) for teacher in ("whisper", "audio_visual")),
        # The best that only hears is a probe of one stream, which has no edges. A net of the same kind that only hears
        # was not trained: what these gain is seeing and the net together.
        *(_alone("audio_visual", name, _WHOLE) for name in ("graph", "hypergraph")),
    ),
    "audio, uniform",
    _STUDENTS,
    seeds=(0, 1, 2, 3, 4),
)

_FUSED: Final = ("bc_lstm", "mult", "hypergraph")
_ATTENTION: Final = {"name": "attention_select", "learn_from": "meta"}
_OUTER: Final = {"name": "meta", "every": 2, "batch_size": 4, "buffer_size": 16}
_OUTER_WINDOWS: Final = {**_OUTER, "batch_size": 64, "buffer_size": 100_000}
"""Of a corpus whose units are single windows; the buffer never fills, as it doesn't with the videos of MOSI."""


def _directions(title: str, structure: str, weigher: str | Mapping[str, Any], outer: bool) -> Entry:
    """All teachers over a structure whose edges are weighed; with `outer`, by what held-out samples teach."""
    recipe = {"teachers": ALL, "methods": [{"name": structure, "edges": "weigher"}], "weigher": weigher}
    if not outer:
        return Entry(title, "E", recipe)
    return Entry(title, "E", {**recipe, "step": [_OUTER]}, recipe_of={"composed": {"step": [_OUTER_WINDOWS]}})


FUTURE: Final = Suite(
    "future",
    "Three directions at once, and each taken away",
    "Attention over hyperedges that held-out videos teach (docs/future.md): what does each of the three contribute?",
    {"mosi": _FUSED, "composed": _FUSED},
    {
        # As many steps as 40 epochs are where a tenth of the videos is held out.
        "mosi": {"steps": 160, "batch": 10, "learning_rate": 2e-3, "patience": 8},
        "composed": {"steps": 700, "batch": 64, "learning_rate": 2e-3, "weight_decay": 0.05, "evaluations": 8},
    },
    (
        Entry("plain"),
        Entry("kd, uniform", "A", {"teachers": ALL, "methods": ["kd"]}),
        _directions("future", "hypergraph", _ATTENTION, outer=True),
        _directions("without the hypergraph: graph", "graph", _ATTENTION, outer=True),
        _directions("without meta-learning", "hypergraph", {**_ATTENTION, "learn_from": "labels"}, outer=False),
        _directions("without attention", "hypergraph", "meta", outer=True),
        _directions("uniform", "hypergraph", "uniform", outer=False),
    ),
    "uniform",
    seeds=tuple(range(20)),
    seeds_of={"composed": 5},
    shows_weights=True,
    base={"predictions": True},
    base_of={"composed": {"modality_dropout": 0.5, "subsets": True}},
    tests=True,
    notes={"composed": NOTES["composed"]},
    pairs=(
        ("future", "without the hypergraph: graph"),
        ("future", "without meta-learning"),
        ("future", "without attention"),
        ("future", "kd, uniform"),
        ("future", "plain"),
    ),
)

SUITES: Final[Mapping[str, Suite]] = {
    suite.name: suite for suite in (UNIMODAL, BAD_TEACHER, PRIVILEGED, MOSI, CAUSAL, MISSING, FUTURE)
}
