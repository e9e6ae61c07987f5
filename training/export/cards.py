"""Model cards, made from the report of the run that was exported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contract.models import WINDOW, ModelSpec
from training.engine.recipe import recipe_of
from training.engine.result import Report


@dataclass(frozen=True)
class Facts:
    """What a card says beyond numbers, by task."""

    data: str
    limits: str


_OWN: Final = Facts(
    "Own clips, see `training/data/clips.py`.", "Those of the clips: few people, their rooms and lines."
)
FACTS: Final[Mapping[str, Facts]] = {
    "audio_encoder": Facts(
        "RAVDESS speech (Livingstone & Russo 2018; CC BY-NC-SA 4.0), 15 actors for training, 2 for validation, 3 for "
        "the test. `accuracy` is of single hops as they are served, `clip_accuracy` of whole clips.",
        "Acted North American English of two sentences, recorded in a studio. Expect less from spontaneous, accented "
        "or noisy speech. Hops without a voice were trained to be neutral.",
    ),
    "video_encoder": Facts(
        "FER2013 (Goodfellow et al. 2013) with original pixels, research use. Training images that also stand in "
        "validation or test are left out; `clean_accuracy` leaves out test images that the training part repeats.",
        "Grey, frontal, mostly posed web images with a known demographic skew. A still frame: it knows no motion.",
    ),
    "text_encoder": Facts(
        "SST (Socher et al. 2013), MR (Pang & Lee 2005) without SST's dev and test sentences, VADER's rated snippets "
        "(MIT), MELD (GPL-3.0 repository), TweetEval; training parts only. `sst2` goes by the sign of SENTIMENT.",
        "English. Film reviews, tweets, sitcom dialogue: sarcasm and context over several utterances are out of reach.",
    ),
    "fusion": Facts(
        "A composed corpus: voices (RAVDESS), faces (FER2013) and sentences (MELD, TweetEval) of the same emotion "
        "drawn together, by split. Conditionally independent given the label: its numbers are not of conversations.",
        "All limits of the three encoders.",
    ),
}


def card_of(spec: ModelSpec, report: Report, difference: float) -> str:
    """Return the text of `model_card.md` for an exported student.

    Args:
        spec: the model's signature.
        report: of its run.
        difference: from PyTorch, on real inputs.
    """
    recipe, facts = recipe_of(report["recipe"]), FACTS.get(report["task"], _OWN)
    teachers = ", ".join(recipe.teachers) or "none"
    methods = "; ".join(_written(method.table()) for method in recipe.methods) or "labels alone"
    lines = [
        f"# {spec.name}",
        "",
        f"- **Data.** {facts.data}",
        f"- **Teachers.** {teachers}. **Method.** {methods}. **Weigher.** {_written(recipe.weigher.table())}.",
        f"- **Limits.** {facts.limits}",
        "- **Licence of the weights.** See `LICENSE.md` of the repository.",
        "",
        "| tensor | |",
        "|---|---|",
        *(f"| input | `{tensor}` |" for tensor in spec.inputs),
        *(f"| output | `{tensor}` |" for tensor in spec.outputs),
        "",
        *_numbers(report["metrics"]),
        "",
        f"{report['student']['parameters']:,} parameters, {report['student']['cpu_ms']} ms an item on one thread. Task "
        f"`{report['task']}`, seed {report['seed']}, {report['steps']} steps in {sum(report['seconds'].values()):.0f} "
        f"seconds; step {report['chosen_step']} was chosen on validation. Data {report['data']['sha256'][:16]}. The "
        f"graph differs from PyTorch by {difference:.1e} at most.",
        "",
        "Made with " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def card_of_window(parts: Mapping[str, int]) -> str:
    """Return the card of a composed window; `parts`: model -> version."""
    made_of = ", ".join(f"{name} {version}" for name, version in parts.items())
    lines = [
        "# window",
        "",
        f"The three encoders and fusion as one graph: {made_of}. Nothing is trained; data, limits and licences are "
        "those of its parts.",
        "",
        "| tensor | |",
        "|---|---|",
        *(f"| input | `{tensor}` |" for tensor in WINDOW.inputs),
        *(f"| output | `{tensor}` |" for tensor in WINDOW.outputs),
    ]
    return "\n".join(lines) + "\n"


def _written(table: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in table.items() if key != "name")
    return f"{table['name']} ({options})" if options else str(table["name"])


def _numbers(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = {split: metrics[split] for split in ("valid", "test")}
    rows |= {f"test {subset}": measures for subset, measures in metrics.get("subsets", {}).items()}
    columns = list(dict.fromkeys(k for row in rows.values() for k, v in row.items() if isinstance(v, float)))
    lines = ["| measured on | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{row[column]:.4g}" if column in row else "" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines
