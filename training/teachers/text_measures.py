"""What is measured of the text teacher, or of whatever answers texts in its form: one function a test.

Polarities of rated snippets go by the project's neutral band (contract.labels.polarity_of); tests are touched once, by
the checkpoint that was chosen on validation.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, recall_score
from torch import Tensor

from contract.labels import EMOTIONS, POLARITIES, polarity_of
from training.data import mosi
from training.data.calibration import expected_calibration_error, fit_temperature
from training.data.degraded_text import recogniser_style
from training.data.folder import Split
from training.data.labelled_texts import LabelledText, rated, sst2, talk, tweets
from training.teachers.text_multitask import TextOutput

Answers = Callable[[Sequence[str]], TextOutput]
_NEGATIVE: Final = POLARITIES.index("negative")
_POSITIVE: Final = POLARITIES.index("positive")


def as_heard(texts: Sequence[str], seed: int = 0) -> list[str]:
    """Return the texts as a recogniser writes them, the same for the same texts and seed."""
    return [recogniser_style(text, np.random.default_rng((seed, i))) or text for i, text in enumerate(texts)]


def films_accuracy(answers: Answers, root: Path, split: Split) -> dict[str, float]:
    """SST-2: accuracy in per cent of the likelier of the two poles, as written and as heard."""
    sentences = sst2(root, split)
    truth = _classes(sentences)
    texts = [sentence.text for sentence in sentences]
    return {
        "sst2": _two_way(answers(texts).polarity, truth),
        "sst2_heard": _two_way(answers(as_heard(texts)).polarity, truth),
    }


def talk_scores(answers: Answers, root: Path, split: Split) -> dict[str, float]:
    """MELD: weighted F1 of sentiment and of emotion; and without the utterances that stand in its training part."""
    utterances = talk(root, split)
    output = answers([u.text for u in utterances])
    seen = {u.key for u in talk(root, "train")}
    new = np.array([u.key not in seen for u in utterances])
    scores: dict[str, float] = {}
    for name, logits, truth in (
        ("sentiment", output.polarity, _classes(utterances)),
        ("emotion", output.emotion, _emotions(utterances)),
    ):
        predicted = logits.argmax(1).numpy()
        scores[f"meld_{name}_wf1"] = 100 * float(f1_score(truth, predicted, average="weighted"))
        scores[f"meld_{name}_wf1_new"] = 100 * float(f1_score(truth[new], predicted[new], average="weighted"))
    return scores


def rated_scores(answers: Answers, root: Path, split: Split, temperature: float) -> dict[str, float]:
    """VADER's tweets, products and editorials: recalls of three classes and ECE; correlation of the score."""
    snippets = rated(root, split)
    output = answers([s.text for s in snippets])
    score = torch.tensor([float(s.score or 0.0) for s in snippets])
    truth = np.array([POLARITIES.index(polarity_of(float(s.score or 0.0))) for s in snippets])
    scores = {"rated_pearson": 100 * float(np.corrcoef(score.numpy(), output.score.numpy())[0, 1])}
    for source in ("tweets", "products", "editorials"):
        chosen = np.array([s.source == source for s in snippets])
        scores |= {
            f"{source}_{k}": v for k, v in three_way(output.polarity[chosen], truth[chosen], temperature).items()
        }
    return scores


def three_way(logits: Tensor, truth: NDArray[np.int64], temperature: float) -> dict[str, float]:
    """Return macro recall, recall of each class (per cent) and ECE of calibrated polarity logits [N, 3]."""
    predicted = logits.argmax(1).numpy()
    probabilities = (logits / temperature).softmax(1).numpy()
    recalls = recall_score(truth, predicted, labels=[0, 1, 2], average=None, zero_division=0)
    return {
        "macro_recall": 100 * float(np.mean(recalls)),
        **{f"{name}_recall": 100 * float(value) for name, value in zip(POLARITIES, recalls, strict=True)},
        "ece": expected_calibration_error(probabilities, truth),
    }


def mosi_scores(answers: Answers, root: Path) -> dict[str, float]:
    """MOSI's transcripts, never trained on: accuracy of the likelier pole on the test part, with and without zeros."""
    segments = mosi.load(root)["test"].segments
    output = answers([mosi.readable(s.text) for s in segments])
    truth = np.array([_POSITIVE if s.positive else _NEGATIVE for s in segments])
    sentiment = np.array([s.sentiment for s in segments])
    clear = sentiment != 0
    return {
        "mosi_has0": _two_way(output.polarity, truth),
        "mosi_non0": _two_way(output.polarity[clear], truth[clear]),
        "mosi_score_has0": 100 * float(((output.score.numpy() >= 0) == (truth == _POSITIVE)).mean()),
        "mosi_pearson": 100 * float(np.corrcoef(sentiment, output.score.numpy())[0, 1]),
    }


def sheet_scores(answers: Answers, sheet: Path, trained: frozenset[str] = frozenset()) -> dict[str, float]:
    """The sheet of plain sentences: accuracy over three polarities as written, as heard, and of those not in `trained`.

    Args:
        answers: the teacher.
        sheet: CSV with `polarity` and `text`.
        trained: keys (`comparison_key`) of training sentences.
    """
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = [LabelledText(row["text"], row["polarity"]) for row in csv.DictReader(file)]
    truth = np.array([POLARITIES.index(row.source) for row in rows])
    texts = [row.text for row in rows]
    right = answers(texts).polarity.argmax(1).numpy() == truth
    heard = answers(as_heard(texts)).polarity.argmax(1).numpy() == truth
    new = np.array([row.key not in trained for row in rows])
    return {
        "sheet": 100 * float(right.mean()),
        "sheet_heard": 100 * float(heard.mean()),
        "sheet_new": 100 * float(right[new].mean()),
        "sheet_new_sentences": float(new.sum()),
    }


def tweet_emotions(answers: Answers, root: Path, split: Split) -> dict[str, float]:
    """TweetEval: accuracy among its three emotions."""
    texts = tweets(root, split)
    truth = _emotions(texts)
    own = [EMOTIONS.index(name) for name in ("angry", "happy", "sad")]
    predicted = np.array(own)[answers([t.text for t in texts]).emotion[:, own].argmax(1).numpy()]
    return {"tweet_emotion": 100 * float((predicted == truth).mean())}


def polarity_temperature(answers: Answers, root: Path) -> float:
    """Return the temperature of the polarity head: of VADER's and MELD's validation parts."""
    snippets, utterances = rated(root, "valid"), talk(root, "valid")
    truth = [POLARITIES.index(polarity_of(float(s.score or 0.0))) for s in snippets] + _classes(utterances).tolist()
    logits = answers([t.text for t in [*snippets, *utterances]]).polarity
    return fit_temperature(logits, torch.tensor(truth))


def _two_way(logits: Tensor, truth: NDArray[np.int64]) -> float:
    positive = (logits[:, _POSITIVE] > logits[:, _NEGATIVE]).numpy()
    return 100 * float((positive == (truth == _POSITIVE)).mean())


def _classes(texts: Sequence[LabelledText]) -> NDArray[np.int64]:
    return np.array([int(np.argmax(t.polarity.probabilities)) for t in texts if t.polarity])


def _emotions(texts: Sequence[LabelledText]) -> NDArray[np.int64]:
    return np.array([int(np.argmax(t.emotion.probabilities)) for t in texts if t.emotion])
