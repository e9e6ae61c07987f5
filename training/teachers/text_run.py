"""`python -m training.teachers.text_run`: fine-tunes the text teacher, measures it, and keeps what it says.

Stages can be run one by one, and each goes on where it was stopped: `train`, `measure`, `label`.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import torch
import typer

from training.data.chitchat import load_chitchat
from training.data.folder import Split, data_root
from training.data.labelled_texts import LabelledText, held_out_texts, training_texts
from training.data.plain_texts import plain_texts
from training.teachers import text_measures
from training.teachers.fetch import fetch_teacher
from training.teachers.text_multitask import TextOutput, TextRecipe, TextTeacher, TextTraining

log = logging.getLogger(__name__)

EDITORIALS: Final = 1500
"""Of the long sentences of editorials, that are trained on."""
FILLS: Final = 16
"""Fillings of every plain frame."""
SHARD: Final = 8000
"""Unlabelled texts in one file of outputs."""

app = typer.Typer()
Data = Annotated[Path | None, typer.Option(help="Data folder; MOODSTREAM_DATA, if not given.")]
Weights = Annotated[Path | None, typer.Option(help="Fetched weights; CACHE/weights, if not given.")]


def teaching_texts(root: Path) -> list[LabelledText]:
    """Return what the teacher is trained on."""
    return training_texts(root, EDITORIALS) + plain_texts(fills=FILLS)


def remembered(teacher: TextTeacher) -> text_measures.Answers:
    """Return `describe` that computes no text twice."""
    known: dict[str, tuple[torch.Tensor, ...]] = {}

    def answer(texts: Sequence[str]) -> TextOutput:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, zip(*vars(teacher.describe(new)).values(), strict=True), strict=True))
        return TextOutput(*(torch.stack(column) for column in zip(*(known[text] for text in texts), strict=True)))

    return answer


def measure_all(
    answers: text_measures.Answers, root: Path, sheet: Path, trained: frozenset[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield measures, valid first; then each test, once."""
    temperature = text_measures.polarity_temperature(answers, root)
    yield "valid", {"temperature": temperature}
    splits: tuple[Split, Split] = ("valid", "test")
    for split in splits:
        yield split, text_measures.films_accuracy(answers, root, split)
        yield split, text_measures.talk_scores(answers, root, split)
        yield split, text_measures.rated_scores(answers, root, split, temperature)
    yield "valid", text_measures.tweet_emotions(answers, root, "valid")
    yield "test", text_measures.mosi_scores(answers, root)
    yield "test", text_measures.sheet_scores(answers, sheet, trained)


@app.command()
def train(cache: Path, data: Data = None, weights: Weights = None, epochs: float = 2.0, threads: int = 2) -> None:
    """Fine-tune into CACHE/text/training.pt."""
    _start(threads)
    recipe = replace(TextRecipe(), epochs=epochs)
    teacher = TextTeacher(fetch_teacher("mpnet", weights or cache / "weights"), recipe.frozen_layers)
    training = TextTraining(
        teacher, teaching_texts(data_root(data)), recipe, cache / "text", cache / "text-states" / "train.f16"
    )
    training.run(_progress(training))
    torch.save(teacher.learned(), cache / "text" / "teacher.pt")


@app.command()
def measure(cache: Path, sheet: Path, data: Data = None, weights: Weights = None, threads: int = 2) -> None:
    """Write CACHE/text/measures.json; SHEET is bench/sheets/plain_sentences.csv."""
    _start(threads)
    root = data_root(data)
    trained = frozenset(text.key for text in teaching_texts(root))
    measures: dict[str, dict[str, float]] = {}
    for part, scores in measure_all(remembered(_taught(cache, weights)), root, sheet, trained):
        measures.setdefault(part, {}).update({name: round(value, 4) for name, value in scores.items()})
        (cache / "text" / "measures.json").write_text(json.dumps(measures, indent=1) + "\n")
        log.info("%s %s", part, scores)


@app.command()
def label(cache: Path, data: Data = None, weights: Weights = None, shards: int = 3, threads: int = 2) -> None:
    """Write what the teacher says about training texts (in sample), held-out texts and unlabelled talk."""
    _start(threads)
    root, teacher = data_root(data), _taught(cache, weights)
    talk = load_chitchat(fetch_teacher("chitchat", weights or cache / "weights"), shards * SHARD)
    texts: dict[str, list[str]] = {
        f"chitchat-{i}": talk[i * SHARD : (i + 1) * SHARD] for i in range(-(-len(talk) // SHARD))
    }
    texts["train_in_sample"] = [text.text for text in teaching_texts(root)]
    texts["held_out"] = [text.text for text in held_out_texts(root)]
    for name, part in texts.items():
        file = cache / "text" / "outputs" / f"{name}.pt"
        if not file.is_file():
            keep_outputs(part, teacher.describe(part), file)
            log.info("%s: %d texts", name, len(part))


def keep_outputs(texts: Sequence[str], output: TextOutput, file: Path) -> None:
    """Write texts and what was said about them: logits and score as they are, pooled states in half precision."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"texts": list(texts), **vars(output), "pooled": output.pooled.half()}, file)


def _taught(cache: Path, weights: Path | None) -> TextTeacher:
    teacher = TextTeacher(fetch_teacher("mpnet", weights or cache / "weights"), TextRecipe().frozen_layers)
    teacher.load_state_dict(torch.load(cache / "text" / "teacher.pt", weights_only=True), strict=False)
    return teacher


def _progress(training: TextTraining) -> Callable[[int, dict[str, float]], None]:
    means: dict[str, float] = {}

    def after(step: int, terms: dict[str, float]) -> None:
        for name, value in terms.items():
            means[name] = 0.97 * means.get(name, value) + 0.03 * value
        if step % 50 == 0:
            log.info("step %d / %d: %s", step, training.total, {name: round(v, 3) for name, v in means.items()})

    return after


def _start(threads: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)


if __name__ == "__main__":
    app()
