"""MELD (Poria et al. 2019): utterances of dialogue with seven emotions and three sentiments; the text alone.

406 of its 2,610 test utterances, nearly all of them exclamations, stand in its training part as well. As tasks, the
sentiment or the emotion of what is said; the text encoder is that of MOSI (training/teachers/opinions.py), which has
seen no sentence of MELD.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from contract.labels import EMOTIONS, POLARITIES, VALENCE
from training.data.conversations import Conversations, UtteranceSplit
from training.data.folder import DataMissingError, Split, corpus_file
from training.data.sentences import Sentence, read_rows
from training.teachers.cache import SPLITS, recipe_hash
from training.teachers.net_recipes import StreamsRecipe

if TYPE_CHECKING:
    from training.teachers.opinions import OpinionEncoder

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


class Meld(Conversations):
    """Three sentiments; see the module."""

    name: str = "meld"
    labels: tuple[str, ...] = POLARITIES
    values: tuple[float, ...] = (-1.0, 0.0, 1.0)
    metric: str = "weighted_f1"
    # Nobody crosses modalities where there is one.
    net_names: tuple[str, ...] = ("bc_lstm", "hypergraph", "dmd", "gated")
    teaching: StreamsRecipe = StreamsRecipe(epochs=8, batch=32, smoothing=0.05)

    @cached_property
    def encoder(self) -> "OpinionEncoder":
        """Of the utterances."""
        from training.teachers.opinions import OpinionEncoder  # It is tuned on corpora, of which this is one.

        return OpinionEncoder(self.data, self.cache)

    @cached_property
    def turns(self) -> dict[Split, list[Turn]]:
        """The splits as they are read."""
        return {split: load_dialogues(self.data, split) for split in SPLITS}

    def load(self) -> Mapping[Split, UtteranceSplit]:
        """See Conversations."""
        texts = {split: [turn.sentence.text for turn in turns] for split, turns in self.turns.items()}
        text = self.encoded(self.encoder, texts)
        return {split: self._utterances(turns, text[split]) for split, turns in self.turns.items()}

    def label(self, turn: Turn) -> str | None:
        """Return what an utterance is labelled with."""
        return turn.sentence.polarity

    def fingerprint(self) -> str:
        """Return the hash of dialogues and encoder."""
        said = {
            split: [[turn.dialogue, turn.number, turn.sentence.text, self.label(turn)] for turn in turns]
            for split, turns in self.turns.items()
        }
        return recipe_hash({"dialogues": said, "text": self.encoder.key()})

    def _utterances(self, turns: list[Turn], text: torch.Tensor) -> UtteranceSplit:
        target = torch.tensor([self.labels.index(str(self.label(turn))) for turn in turns])
        return UtteranceSplit(
            ids=[f"{turn.dialogue}-{turn.number}" for turn in turns],
            conversation=[str(turn.dialogue) for turn in turns],
            features={"text": text},
            target=target,
            score=torch.tensor(self.values)[target],
            texts=[turn.sentence.text for turn in turns],
        )


class MeldEmotion(Meld):
    """Seven emotions of the same utterances; scores are the sentiments that emotions stand for."""

    name: str = "meld_emotion"
    labels: tuple[str, ...] = EMOTIONS
    values: tuple[float, ...] = tuple(VALENCE[label] for label in EMOTIONS)

    def label(self, turn: Turn) -> str | None:
        """See Meld."""
        return turn.sentence.emotion
