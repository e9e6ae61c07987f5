"""Model cards, made from the report of `python -m training evaluate-students`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contract.models import MODELS


@dataclass(frozen=True)
class Facts:
    """What a card says beyond numbers."""

    title: str
    data: str
    method: str
    limits: str


FACTS: Final[Mapping[str, Facts]] = {
    "audio_encoder": Facts(
        "Audio student: 0.5 s of speech with 1 s of context -> embeddings, emotion, sentiment",
        "RAVDESS speech (Livingstone & Russo 2018; CC BY-NC-SA 4.0), 15 actors for training, 2 for validation, 3 "
        "for the test.",
        "Causal depthwise-separable convolutions on log-mel, which is computed inside the graph. Hinton KD from a net "
        "over Whisper tiny.en's hidden states, whose opinion of a training clip is out of fold over the actors. Speed, "
        "gain, noise and spectral masks as augmentation. `test` scores a clip by the mean of its hops' log "
        "probabilities (no likelihood: its ece says nothing), `test_hops` single hops as they are served.",
        "Acted North American English of two sentences, recorded in a studio. Expect less from spontaneous, accented "
        "or noisy speech. Hops without a voice were trained to be neutral.",
    ),
    "video_encoder": Facts(
        "Face student: one face crop -> embedding, emotion, sentiment",
        "FER2013 (Goodfellow et al. 2013), research use. Training images that also stand in validation or test, or "
        "that have two labels, are left out; `test` is every other image of PrivateTest, `test_clean` leaves out "
        "those that the published training part repeats.",
        "Small residual CNN on luma, normalised per image inside the graph; label smoothing, since the labels are "
        "noisy (people reach about 65 %). No teacher.",
        "Grey, frontal, mostly posed web images with a known demographic skew. A still frame: it knows no motion and "
        "takes an open mouth of speech for an expression at times.",
    ),
    "text_encoder": Facts(
        "Text student: up to 62 word pieces -> embeddings, emotion, sentiment",
        "SST (Socher et al. 2013), MR (Pang & Lee 2005) without SST's dev and test sentences, VADER's rated snippets "
        "(MIT), MELD (GPL-3.0 repository), TweetEval emotion; training parts only.",
        "Two-layer transformer. Embeddings start from a PCA of MiniLM's (all-MiniLM-L6-v2, Apache-2.0); Hinton KD from "
        "MiniLM fine-tuned for one epoch on the same corpora. `sst2` goes by the sign of SENTIMENT, `meld` and "
        "`tweeteval` by EMOTION.",
        "English. Film reviews, tweets, sitcom dialogue: sarcasm and context over several utterances are out of reach.",
    ),
    "fusion": Facts(
        "Fusion: embeddings of a 4 s window -> sentiment, polarity, emotion, contributions",
        "A composed corpus: real audio (RAVDESS), faces (FER2013) and sentences (MELD, TweetEval) of the same emotion "
        "drawn together, by split. Composed means conditionally independent given the label: it teaches weighting, "
        "noise and missing modalities, not irony between the channels; its numbers are not those of real "
        "conversations.",
        "Eight latents read all tokens twice; a gate weighs one summary per modality, and all heads are linear in the "
        "weighted sum, so CONTRIBUTION is a share of the answer. Trained for all seven subsets of modalities.",
        "All limits of the three encoders.",
    ),
    "window": Facts(
        "Window: the three encoders and fusion as one graph",
        "That of its parts.",
        "Composed of the exported audio_encoder, video_encoder, text_encoder and fusion; nothing is trained.",
        "Those of its parts.",
    ),
}


def render_cards(report: Path) -> dict[str, str]:
    """Return the text of `model_card.md` by model; raises FileNotFoundError when there is no report yet."""
    if not report.is_file():
        raise FileNotFoundError(f"no report at {report}: run `python -m training evaluate-students` first")
    content = json.loads(report.read_text())
    return {name: _card(name, facts, content) for name, facts in FACTS.items()}


def _card(name: str, facts: Facts, report: Mapping[str, Any]) -> str:
    spec = MODELS[name]
    lines = [f"# {name}", "", facts.title + ".", "", f"- **Data.** {facts.data}", f"- **Method.** {facts.method}"]
    lines += [f"- **Limits.** {facts.limits}", "- **Licence of the weights.** See `LICENSE.md` of the repository.", ""]
    lines += ["| tensor | |", "|---|---|"]
    lines += [f"| input | `{tensor}` |" for tensor in spec.inputs] + [
        f"| output | `{tensor}` |" for tensor in spec.outputs
    ]
    student = report["students"].get(name)
    if student is not None:
        lines += ["", *_numbers(student), "", *_made(student, report)]
    return "\n".join(lines) + "\n"


def _numbers(student: Mapping[str, Any]) -> list[str]:
    columns = list(dict.fromkeys(key for scores in student["metrics"].values() for key in scores))
    lines = ["| measured on | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, scores in student["metrics"].items():
        lines.append(f"| {name} | " + " | ".join(str(scores.get(column, "")) for column in columns) + " |")
    return lines


def _made(student: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{student['parameters']:,} parameters. Made by `{student['command']}` in {student['train_seconds'] / 60:.0f} "
        f"minutes of two shared CPU cores; epoch {student['chosen_epoch']:g} was chosen on validation. One seed.",
    ]
    if "teacher" in student:
        scores = ", ".join(f"{key} {value}" for key, value in student["teacher"].items() if key != "name")
        lines.append(f"Teacher: {student['teacher']['name']} ({scores}).")
    versions = ", ".join(f"{key} {value}" for key, value in report["versions"].items())
    return [*lines, "", f"Measured {report['measured']} with {versions}."]
