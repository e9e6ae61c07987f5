"""MELD (Poria et al. 2019): utterances of dialogue with seven emotions and three sentiments; the text alone."""

from pathlib import Path
from typing import Final

from contract.labels import POLARITIES
from training.data.folder import Split, corpus_file
from training.data.sentences import Sentence, read_rows

_SPLITS: Final[dict[Split, str]] = {"train": "train", "valid": "dev", "test": "test"}
_EMOTIONS: Final = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprise",
    "neutral": "neutral",
}


def load(root: Path, split: Split) -> list[Sentence]:
    """Return the utterances of one official split with emotion and polarity."""
    rows = read_rows(corpus_file(root, "meld_text", "utterances.csv"), ("split", "emotion", "sentiment", "text"))
    sentences = []
    for row in rows:
        if row["split"] == _SPLITS[split]:
            assert row["sentiment"] in POLARITIES, row
            sentences.append(Sentence(row["text"], emotion=_EMOTIONS[row["emotion"]], polarity=row["sentiment"]))
    return sentences
