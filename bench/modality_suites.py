"""The suites of conversations in several modalities, as literal data; like `bench.suites`."""

from collections.abc import Mapping
from typing import Any, Final

from bench.suite import ALL, BEST, Entry, Suite

_TWENTY: Final = tuple(range(20))
_TEACHERS: Final = ("bc_lstm", "mult", "hypergraph", "dmd", "gated", "ensemble")
_DIALOGUE_TEACHERS: Final = ("bc_lstm", "hypergraph", "dmd", "gated", "ensemble")
_ENSEMBLE: Final = ("ensemble",)
"""Is the mean of the others, and has no features: most entries do without it."""
_LOGITS: Final = (0.3, 1.0, 3.0)
_FEATURES: Final = (0.03, 0.3, 1.0)
_WHOLE: Final = (0.1, 0.3, 1.0)
"""Of methods that match logits and features, whose default weights are made for losses of another size."""
_MELD: Final = "406 of the 2,610 test utterances, nearly all of them exclamations, stand in the training part as well."
NOTES: Final = {
    "mosi_published": "Text and video features were learned on the training labels, as validation shows, which so "
    "can't choose. The task stands here beside the figure that is published for bc-LSTM on these features, 80.3 % "
    "(NLP-progress), and for nothing else.",
    "meld": _MELD,
    "meld_emotion": _MELD,
    "composed": "Windows are cut out of recordings of voices, which the bootstrap draws whole; the faces and sentences "
    "that they share as well are not accounted for, and some sentences stand in the training part too (see meld). A "
    "window stands alone, so that `graph` and `hypergraph` differ by the hyperedge `utterance` alone: what MOSI says "
    "of the two is about conversations, this is not.",
}
"""What readers of a task's tables have to know."""
_VIDEOS: Final = {"epochs": 25, "batch": 8, "learning_rate": 2e-3, "weight_decay": 0.05, "evaluations": 12}
_DIALOGUES: Final = {"epochs": 6, "batch": 16, "learning_rate": 2e-3, "weight_decay": 0.05, "evaluations": 6}
_DRAWN: Final = {"epochs": 8, "batch": 64, "learning_rate": 2e-3, "weight_decay": 0.05, "evaluations": 8}


def _one(
    name: str,
    family: str,
    factors: tuple[float, ...],
    teachers: str = BEST,
    title: str = "",
    recipe: Mapping[str, Any] | None = None,
    tasks: tuple[str, ...] = (),
    **options: Any,
) -> Entry:
    """A method beside the labels, with options of its own, in a recipe with others."""
    whole = {"teachers": teachers, "methods": [{"name": name, **options}], **(recipe or {})}
    return Entry(title or name, family, whole, factors, without=_ENSEMBLE, tasks=tasks)


def _weighed(name: str) -> Entry:
    return Entry(name, "D", {"teachers": ALL, "methods": [{"name": "kd"}], "weigher": name}, _LOGITS, without=_ENSEMBLE)


def _stepped(name: str) -> Entry:
    return Entry(name, "D", {"teachers": BEST, "methods": [{"name": "kd"}], "step": name}, _LOGITS, without=_ENSEMBLE)


def _student(title: str, student: str, recipe: Mapping[str, Any] | None = None) -> Entry:
    return Entry(title, "", {"student": student, **(recipe or {})})


MOSI: Final = Suite(
    "mosi",
    "Conversations: MOSI and MELD",
    "Which methods make a small student of conversations better than labels alone do?",
    {
        "mosi": _TEACHERS,
        "mosi_published": _TEACHERS,
        "meld": _DIALOGUE_TEACHERS,
        "meld_emotion": _DIALOGUE_TEACHERS,
        "composed": _TEACHERS,
    },
    {
        "mosi": _VIDEOS,
        "mosi_published": _VIDEOS,
        "meld": _DIALOGUES,
        "meld_emotion": _DIALOGUES,
        "composed": _DRAWN,
    },
    (
        Entry("plain"),
        _student("bottleneck student, plain", "bottleneck"),
        _one("kd", "", _LOGITS, ALL, "kd, all teachers equally"),
        Entry("kd, their ensemble", "", {"teachers": ["ensemble"], "methods": [{"name": "kd"}]}, _LOGITS),
        *(_one(name, "A", _LOGITS) for name in ("kd", "dkd", "dist", "score")),
        _one("logit_std", "A", _LOGITS, tasks=("meld", "meld_emotion", "composed")),
        *(_one(name, "B", _FEATURES) for name in ("fitnet", "vid", "crd")),
        # Angles of all triples of 200 utterances take longer than everything else together.
        _one("rkd", "C", _FEATURES, title="rkd, distances alone", angle_weight=0.0),
        *(_one(name, "C", _FEATURES) for name in ("sp", "cc", "pkt")),
        _one("ekd", "D", _FEATURES, ALL),
        *(_weighed(name) for name in ("entropy", "confidence", "attention_select", "meta")),
        *(_stepped(name) for name in ("meta_teacher", "reweight")),
        *(_one(name, "E", _WHOLE) for name in ("cmd", "graph", "hypergraph", "gravitation", "missing")),
        _one("dmd", "E", _WHOLE),
        _one("dmd", "E", _WHOLE, title="dmd, the authors' prior", prior="authors"),
    ),
    "plain",
    seeds=_TWENTY,
    seeds_of={"meld": 3, "meld_emotion": 3, "composed": 3},
    base={"predictions": True},
    # MELD has words alone.
    base_of={task: {"subsets": True} for task in ("mosi", "mosi_published", "composed")},
    tests=True,
    notes=NOTES,
    pairs=(("hypergraph", "graph"), ("dmd, the authors' prior", "dmd")),
)


def _ahead(line: str, lookahead: int | None, method: str = "") -> Entry:
    """A point of the look-ahead curve: a student that sees so many utterances ahead, or the whole conversation."""
    student = "default" if lookahead is None else "causal" if lookahead == 0 else f"lookahead{lookahead}"
    title = f"{line}, {'whole conversation' if lookahead is None else f'{lookahead} ahead'}"
    recipe: dict[str, Any] = {"student": student}
    if method:
        recipe |= {"teachers": ALL, "methods": [{"name": method}]}
    factors = () if not method else _LOGITS if method == "kd" else _WHOLE
    family = "E" if method == "causal" else "A" if method else ""
    return Entry(title, family, recipe, factors, without=_ENSEMBLE, line=line, lookahead=lookahead)


CAUSAL: Final = Suite(
    "causal",
    "Students that may not look ahead",
    "How much accuracy does looking ahead buy, and how much of it comes back when teachers that see all teach?",
    {"mosi": _TEACHERS, "meld": _DIALOGUE_TEACHERS, "meld_emotion": _DIALOGUE_TEACHERS},
    {"mosi": _VIDEOS, "meld": _DIALOGUES, "meld_emotion": _DIALOGUES},
    (
        *(_ahead("plain", lookahead) for lookahead in (0, 1, 2, 4, None)),
        *(_ahead("kd", lookahead, "kd") for lookahead in (0, 1, 2, 4, None)),
        *(_ahead("causal", lookahead, "causal") for lookahead in (0, 1, 2, 4)),
    ),
    "plain, 0 ahead",
    seeds=_TWENTY,
    seeds_of={"meld": 5, "meld_emotion": 5},
    base={"predictions": True},
    tests=True,
    notes=NOTES,
    pairs=(
        ("causal, 0 ahead", "kd, 0 ahead"),
        ("causal, 0 ahead", "plain, whole conversation"),
        ("kd, 0 ahead", "plain, whole conversation"),
    ),
)

MISSING: Final = Suite(
    "missing",
    "Students that lack modalities",
    "Who loses least when modalities are missing: a student from which some were hidden as it learned (*mask only*), "
    "or one that a teacher of complete samples taught meanwhile?",
    {"mosi_published": _TEACHERS, "composed": _TEACHERS, "mosi": _TEACHERS},
    {"mosi_published": _VIDEOS, "composed": _DRAWN, "mosi": _VIDEOS},
    (
        _student("plain, nothing hidden", "default", {"modality_dropout": 0.0}),
        Entry("mask only"),
        _one("kd", "A", _LOGITS),
        _one("missing", "E", _WHOLE),
        _one("missing", "E", _WHOLE, title="missing, distances count alone too", base=1.0),
        *(_one(name, "E", _WHOLE) for name in ("graph", "hypergraph", "gravitation", "dmd")),
        _student("bottleneck student, mask only", "bottleneck"),
        _one("missing", "E", _WHOLE, title="bottleneck student, missing", recipe={"student": "bottleneck"}),
    ),
    "mask only",
    seeds=_TWENTY,
    seeds_of={"composed": 10, "mosi": 5, "mosi_published": 5},
    base={"predictions": True, "subsets": True, "modality_dropout": 0.5},
    trial_seeds=3,
    tests=True,
    notes=NOTES,
    pairs=(("missing", "kd"), ("bottleneck student, missing", "bottleneck student, mask only")),
)
