"""MELD: the sentiment, or the emotion, of what is said in a dialogue, by its words alone.

The text encoder is that of MOSI (training/teachers/opinions.py), which has seen no sentence of MELD. 406 of the 2,610
test utterances, nearly all of them exclamations, stand in the training part as well.
"""

from collections.abc import Mapping
from functools import cached_property

import torch

from contract.labels import EMOTIONS, POLARITIES, VALENCE
from training.data import meld
from training.data.folder import Split
from training.tasks.conversations import Conversations, UtteranceSplit
from training.teachers.cache import SPLITS, recipe_hash
from training.teachers.net_recipes import StreamsRecipe
from training.teachers.opinions import OpinionEncoder


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
    def encoder(self) -> OpinionEncoder:
        """Of the utterances."""
        return OpinionEncoder(self.data, self.cache)

    @cached_property
    def turns(self) -> dict[Split, list[meld.Turn]]:
        """The splits as they are read."""
        return {split: meld.load_dialogues(self.data, split) for split in SPLITS}

    def load(self) -> Mapping[Split, UtteranceSplit]:
        """See Conversations."""
        texts = {split: [turn.sentence.text for turn in turns] for split, turns in self.turns.items()}
        text = self.encoded(self.encoder, texts)
        return {split: self._utterances(turns, text[split]) for split, turns in self.turns.items()}

    def label(self, turn: meld.Turn) -> str | None:
        """Return what an utterance is labelled with."""
        return turn.sentence.polarity

    def fingerprint(self) -> str:
        """Return the hash of dialogues and encoder."""
        said = {
            split: [[turn.dialogue, turn.number, turn.sentence.text, self.label(turn)] for turn in turns]
            for split, turns in self.turns.items()
        }
        return recipe_hash({"dialogues": said, "text": self.encoder.key()})

    def _utterances(self, turns: list[meld.Turn], text: torch.Tensor) -> UtteranceSplit:
        target = torch.tensor([self.labels.index(str(self.label(turn))) for turn in turns])
        return UtteranceSplit(
            ids=[f"{turn.dialogue}-{turn.number}" for turn in turns],
            conversation=[str(turn.dialogue) for turn in turns],
            features={"text": text},
            target=target,
            score=torch.tensor(self.values)[target],
        )


class MeldEmotion(Meld):
    """Seven emotions of the same utterances; scores are the sentiments that emotions stand for."""

    name: str = "meld_emotion"
    labels: tuple[str, ...] = EMOTIONS
    values: tuple[float, ...] = tuple(VALENCE[label] for label in EMOTIONS)

    def label(self, turn: meld.Turn) -> str | None:
        """See Meld."""
        return turn.sentence.emotion
