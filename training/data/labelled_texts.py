"""The text corpora joined into one training set: each sentence once, with every label that any corpus gives it.

Films' sentences stand in SST, MR and VADER's ratings at once; they are joined by their letters (`comparison_key`). What
is left out: sentences of SST's dev and test splits wherever they stand, MELD's dev and test utterances of six words or
more, and rated snippets of VADER's own valid and test parts.

A label can be partial. MR knows no neutral class, and TweetEval no neutral, fear, surprise or disgust: a target then
says among which classes it chooses (`among`), so that a missing class is not taught to be absent.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from contract.labels import EMOTIONS, POLARITIES
from training.data import meld, tweeteval
from training.data.folder import Split, corpus_file
from training.data.sentences import Overlap, comparison_key, detokenize, read_rows

SCALE: Final = 4.0
"""VADER's ratings go from -4 to 4."""
SST5_SLOPE: Final = 0.65
"""A degree of SST-5 in [-1, 1] times this is what VADER's raters say / 4 on average (`degree_slope` measures it)."""
NEUTRAL_BELOW: Final = 0.2
"""A mean rating nearer to 0 than this is surely neutral."""
CLEAR_FROM: Final = 1.2
"""A mean rating from here on is surely not neutral; linear between."""
_BINARY: Final = {"0": "negative", "1": "positive"}
_FIVE: Final = {"0": "negative", "1": "negative", "2": "neutral", "3": "positive", "4": "positive"}
_SST_SPLITS: Final[dict[Split, str]] = {"train": "train", "valid": "dev", "test": "test"}
_SOURCES: Final = {
    "movieReviewSnippets": "films",
    "amazonReviewSnippets": "products",
    "nytEditorialSnippets": "editorials",
    "tweets": "tweets",
}
_TWEETEVAL_AMONG: Final = ("angry", "happy", "sad")


@dataclass(frozen=True)
class Target:
    """A distribution over classes, and among which of them it was chosen."""

    probabilities: tuple[float, ...]
    among: tuple[bool, ...]


@dataclass(frozen=True)
class LabelledText:
    """One text with what is known of it."""

    text: str
    source: str
    """films, products, editorials, tweets, talk or plain."""
    polarity: Target | None = None
    """Over contract.labels.POLARITIES."""
    emotion: Target | None = None
    """Over contract.labels.EMOTIONS."""
    score: float | None = None
    """In [-1, 1]: a mean rating of people / 4."""

    @property
    def key(self) -> str:
        """Its letters: equal for spellings of one sentence."""
        return comparison_key(self.text)


def one_hot(label: str, classes: Sequence[str], among: Sequence[str] | None = None) -> Target:
    """Return the target of one label, chosen among `among` (all classes, if None)."""
    allowed = tuple(classes) if among is None else tuple(among)
    return Target(
        tuple(float(name == label) for name in classes), tuple(name in allowed or name == label for name in classes)
    )


def polarity_of_rating(rating: float) -> Target:
    """Return the polarity of a mean rating in [-4, 4]: soft where people were of two minds."""
    neutral = float(np.clip((CLEAR_FROM - abs(rating)) / (CLEAR_FROM - NEUTRAL_BELOW), 0.0, 1.0))
    clear = 1.0 - neutral
    return Target((clear if rating < 0 else 0.0, neutral, clear if rating > 0 else 0.0), (True, True, True))


def films(root: Path) -> list[LabelledText]:
    """Return SST-5's training sentences, MR and VADER's film snippets, joined; none of SST's dev or test sentences."""
    rows = _sst_rows(root)
    overlap = Overlap([row["text"] for row in rows if row["dataset"] != "mr" and row["split"] != "train"])
    joined: dict[str, LabelledText] = {}
    for row in rows:
        text = detokenize(row["text"])
        if row["dataset"] == "sst_fine" and row["split"] == "train":
            score = SST5_SLOPE * (int(row["label"]) / 2 - 1)
            label = one_hot(_FIVE[row["label"]], POLARITIES)
            joined.setdefault(comparison_key(text), LabelledText(text, "films", label, score=score))
        elif row["dataset"] == "mr" and row["text"] not in overlap:
            label = one_hot(_BINARY[row["label"]], POLARITIES, ("negative", "positive"))
            joined.setdefault(comparison_key(text), LabelledText(text, "films", label))
    for text, source, rating in _ratings(root):
        if source == "films" and text not in overlap:
            key = comparison_key(text)
            known = joined.get(key, LabelledText(text, "films", polarity_of_rating(rating)))
            joined[key] = replace(known, score=rating / SCALE)
    return list(joined.values())


def rated(root: Path, split: Split) -> list[LabelledText]:
    """Return VADER's products, editorials and tweets of one split, which goes by a hash of the letters (8 : 1 : 1)."""
    return [
        LabelledText(text, source, polarity_of_rating(rating), score=rating / SCALE)
        for text, source, rating in _ratings(root)
        if source != "films" and rating_split(text) == split
    ]


def rating_split(text: str) -> Split:
    """Return the split of a rated snippet, the same for every spelling of it."""
    bucket = _digest(text)[0] % 10
    return "test" if bucket == 0 else "valid" if bucket == 1 else "train"


def talk(root: Path, split: Split) -> list[LabelledText]:
    """Return MELD's utterances with emotion and polarity."""
    return [
        LabelledText(
            sentence.text.replace("\x92", "'"),
            "talk",
            one_hot(str(sentence.polarity), POLARITIES),
            one_hot(str(sentence.emotion), EMOTIONS),
        )
        for sentence in meld.load(root, split)
    ]


def tweets(root: Path, split: Split) -> list[LabelledText]:
    """Return TweetEval's tweets with an emotion among three; `test` is empty."""
    if split == "test":
        return []
    return [
        LabelledText(sentence.text, "tweets", emotion=one_hot(str(sentence.emotion), EMOTIONS, _TWEETEVAL_AMONG))
        for sentence in tweeteval.load(root, split)
    ]


def training_texts(root: Path, editorials: int | None = None) -> list[LabelledText]:
    """Return everything for training: no sentence twice but in talk, where a word is said with several labels.

    Args:
        root: the data folder.
        editorials: at most so many of these long sentences, the first by their hash; all, if None.
    """
    held = {comparison_key(text.text) for text in held_out_texts(root) if len(text.text.split()) >= 6}
    snippets = rated(root, "train")
    long = sorted((s for s in snippets if s.source == "editorials"), key=lambda s: _digest(s.text))[:editorials]
    short = [s for s in snippets if s.source != "editorials"]
    everything = [*films(root), *short, *long, *talk(root, "train"), *tweets(root, "train")]
    return [text for text in everything if text.key and text.key not in held]


def held_out_texts(root: Path) -> list[LabelledText]:
    """Return what training must not see: the valid and test parts of every corpus."""
    splits: tuple[Split, Split] = ("valid", "test")
    return [
        text for split in splits for part in (sst2, rated, talk, tweets) for text in part(root, split)
    ] + _neutral_sst(root)


def _digest(text: str) -> bytes:
    return hashlib.sha256(comparison_key(text).encode()).digest()


def sst2(root: Path, split: Split) -> list[LabelledText]:
    """Return the sentences of SST-2, whose two classes know no neutral one."""
    return [
        LabelledText(
            detokenize(row["text"]), "films", one_hot(_BINARY[row["label"]], POLARITIES, ("negative", "positive"))
        )
        for row in _sst_rows(root)
        if row["dataset"] == "sst_binary" and row["split"] == _SST_SPLITS[split]
    ]


def degree_slope(root: Path) -> float:
    """Return the least-squares slope of VADER's ratings / 4 on SST-5's training degrees, of sentences in both."""
    degrees = {
        comparison_key(detokenize(row["text"])): int(row["label"]) / 2 - 1
        for row in _sst_rows(root)
        if row["dataset"] == "sst_fine" and row["split"] == "train"
    }
    pairs = np.array(
        [
            (degrees[comparison_key(text)], rating / SCALE)
            for text, source, rating in _ratings(root)
            if source == "films" and comparison_key(text) in degrees
        ]
    )
    return float((pairs[:, 0] * pairs[:, 1]).sum() / (pairs[:, 0] ** 2).sum())


def _neutral_sst(root: Path) -> list[LabelledText]:
    return [
        LabelledText(detokenize(row["text"]), "films")
        for row in _sst_rows(root)
        if row["dataset"] == "sst_fine" and row["split"] != "train"
    ]


def _sst_rows(root: Path) -> list[dict[str, str]]:
    return list(read_rows(corpus_file(root, "sst_mr", "sentences.csv"), ("dataset", "split", "label", "text")))


def _ratings(root: Path) -> Iterable[tuple[str, str, float]]:
    """Yield text, source and mean rating in [-4, 4]."""
    path = corpus_file(root, "vader_snippets", "ratings.csv")
    for row in read_rows(path, ("source", "mean_rating_-4_4", "text")):
        rating = float(np.clip(float(row["mean_rating_-4_4"]), -SCALE, SCALE))
        yield tweeteval.clean(row["text"]).replace("''", '"'), _SOURCES[row["source"]], rating
