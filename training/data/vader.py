"""The rated snippets of VADER (Hutto & Gilbert 2014): tweets, reviews, editorials with a mean human rating in -4..4.

The movie snippets are sentences of MR, hence partly of SST's test set: those are left out.
"""

import hashlib
from pathlib import Path

from training.data.folder import Split, corpus_file
from training.data.sentences import Sentence, read_rows
from training.data.sst_mr import held_out
from training.data.tweeteval import clean

_SCALE = 4.0


def load(root: Path, split: Split) -> list[Sentence]:
    """Return sentences with a sentiment in [-1, 1]: the rating / 4.

    VADER has no official split. Ours goes by a hash of the text: 80 % train, 10 % valid, 10 % test.
    """
    path = corpus_file(root, "vader_snippets", "ratings.csv")
    overlap = held_out(root)
    return [
        Sentence(clean(row["text"]), sentiment=max(-1.0, min(1.0, float(row["mean_rating_-4_4"]) / _SCALE)))
        for row in read_rows(path, ("mean_rating_-4_4", "text"))
        if _split_of(row["text"]) == split and row["text"] not in overlap
    ]


def _split_of(text: str) -> Split:
    bucket = hashlib.sha256(text.encode()).digest()[0] % 10
    return "test" if bucket == 0 else "valid" if bucket == 1 else "train"
