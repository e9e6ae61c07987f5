"""The text corpora together, without repetitions, and the targets that follow from their different labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from contract.labels import EMOTIONS, VALENCE
from training.data import meld, sst_mr, tweeteval, vader
from training.data.sentences import Sentence, comparison_key

_POLARITY_SENTIMENT: Final = {"negative": -0.7, "neutral": 0.0, "positive": 0.7}
"""Where a corpus has classes only: the mean magnitude of SST-5's sentences that are not neutral."""


@dataclass(frozen=True)
class TextTargets:
    """Targets of N sentences."""

    emotion: Tensor
    """int64 [N], -1 without a label."""
    sentiment: Tensor
    """[N], NaN without a label."""


def training_sentences(root: Path) -> list[Sentence]:
    """Return the training parts of all text corpora, each sentence once (SST's finer labels win over MR's)."""
    return _unique(
        sst_mr.load_sst5(root, "train"),
        sst_mr.load_mr(root),
        meld.load(root, "train"),
        tweeteval.load(root, "train"),
        vader.load(root, "train"),
    )


def opinion_sentences(root: Path) -> list[Sentence]:
    """Return the training parts of the corpora of opinions, whose labels are degrees: reviews, tweets and editorials.

    Each sentence once. MELD and TweetEval, whose labels are emotions, are left out.
    """
    return _unique(sst_mr.load_sst5(root, "train"), sst_mr.load_mr(root), vader.load(root, "train"))


def _unique(*corpora: Sequence[Sentence]) -> list[Sentence]:
    unique: dict[str, Sentence] = {}
    for corpus in corpora:
        for sentence in corpus:
            unique.setdefault(comparison_key(sentence.text) or sentence.text, sentence)
    return list(unique.values())


def text_targets(sentences: Sequence[Sentence]) -> TextTargets:
    """Return the targets: the corpus's sentiment, else the valence of its emotion, else that of its polarity."""
    emotions = [EMOTIONS.index(s.emotion) if s.emotion else -1 for s in sentences]
    return TextTargets(torch.tensor(emotions), torch.tensor([_sentiment(s) for s in sentences]))


def _sentiment(sentence: Sentence) -> float:
    if sentence.sentiment is not None:
        return sentence.sentiment
    if sentence.emotion is not None:
        return VALENCE[sentence.emotion]
    return _POLARITY_SENTIMENT[sentence.polarity] if sentence.polarity else float("nan")
