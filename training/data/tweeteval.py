"""TweetEval, task emotion (Barbieri et al. 2020): train and validation; there is no test split here."""

import re
from pathlib import Path
from typing import Final, Literal

from training.data.folder import corpus_file
from training.data.sentences import Sentence, read_rows

_SPLITS: Final = {"train": "train", "valid": "val"}
_EMOTIONS: Final = {"anger": "angry", "joy": "happy", "optimism": "happy", "sadness": "sad"}


def load(root: Path, split: Literal["train", "valid"]) -> list[Sentence]:
    """Return the tweets of one split with their emotion (optimism joins happy), without @user and with # removed."""
    rows = read_rows(corpus_file(root, "tweeteval", "tweets.csv"), ("task", "split", "label_name", "text"))
    return [
        Sentence(clean(row["text"]), emotion=_EMOTIONS[row["label_name"]])
        for row in rows
        if row["task"] == "emotion" and row["split"] == _SPLITS[split]
    ]


def clean(tweet: str) -> str:
    """Leave the words of a tweet: no user names, no links, hash tags as words."""
    return " ".join(re.sub(r"@\w+|https?://\S+", " ", tweet).replace("#", " ").replace("\\n", " ").split())
