"""MELD (Poria et al. 2019): utterances of dialogue with seven emotions and three sentiments; the text alone.

406 of its 2,610 test utterances stand in its training part as well, nearly all of them exclamations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract.labels import POLARITIES
from training.data.folder import DataMissingError, Split, corpus_file
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


_COLUMNS: Final = ("split", "emotion", "sentiment", "text")


@dataclass(frozen=True)
class Turn:
    """One utterance of a dialogue."""

    dialogue: int
    """Its number; dialogues of different splits share numbers."""
    number: int
    """Its place in the dialogue, from 0; a few are missing."""
    speaker: str
    sentence: Sentence


def load(root: Path, split: Split) -> list[Sentence]:
    """Return the utterances of one official split with emotion and polarity.

    Raises:
        DataMissingError: the file or a column is missing, or a row has no label of MELD's; says which.
    """
    return [_sentence(row, where) for where, row in _rows(root, split, _COLUMNS)]


def load_dialogues(root: Path, split: Split) -> list[Turn]:
    """Return the utterances of one official split, dialogue after dialogue, each in the order of its turns.

    Raises:
        DataMissingError: as `load`, and where a dialogue has two turns of one number.
    """
    turns: dict[tuple[int, int], Turn] = {}
    for where, row in _rows(root, split, (*_COLUMNS, "dialogue_id", "utterance_id", "speaker")):
        place = (_whole(row, "dialogue_id", where), _whole(row, "utterance_id", where))
        if place in turns:
            raise DataMissingError(f"{where}: dialogue {place[0]} of {row['split']} has a turn {place[1]} already")
        turns[place] = Turn(*place, row["speaker"], _sentence(row, where))
    return [turns[place] for place in sorted(turns)]


def _rows(root: Path, split: Split, columns: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a split, and what an error calls them; the first row under the header is 0."""
    path = corpus_file(root, "meld_text", "utterances.csv")
    rows = enumerate(read_rows(path, columns))
    return [(f"{path}, row {number}", row) for number, row in rows if row["split"] == _SPLITS[split]]


def _sentence(row: dict[str, str], where: str) -> Sentence:
    if row["sentiment"] not in POLARITIES:
        raise DataMissingError(f"{where}: sentiment is {row['sentiment']!r}, expected one of {', '.join(POLARITIES)}")
    if row["emotion"] not in _EMOTIONS:
        raise DataMissingError(f"{where}: emotion is {row['emotion']!r}, expected one of {', '.join(_EMOTIONS)}")
    return Sentence(row["text"], emotion=_EMOTIONS[row["emotion"]], polarity=row["sentiment"])


def _whole(row: dict[str, str], column: str, where: str) -> int:
    if not row[column].isdecimal():
        raise DataMissingError(f"{where}: {column} is {row[column]!r}, expected a number from 0")
    return int(row[column])
