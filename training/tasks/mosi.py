"""CMU-MOSI: how positive is what somebody says of a film, utterance after utterance of a video.

`mosi` has inputs that have seen no label of the corpus: transcripts through a text encoder, and the published audio
features. `mosi_published` has the published features of all three modalities, of which text and video were learned on
the training labels: what is measured inside the training part with them means nothing, so validation can't choose
well there, and they serve to be compared with the published figure alone.
"""

from collections.abc import Mapping
from functools import cached_property

import torch

from training.data import mosi
from training.data.folder import Split, corpus_file
from training.models.answer import ScoredHead
from training.tasks.conversations import Conversations, UtteranceSplit
from training.teachers.cache import file_sha256, recipe_hash
from training.teachers.opinions import OpinionEncoder


class MosiPublished(Conversations):
    """The published features; see the module."""

    name: str = "mosi_published"
    labels: tuple[str, ...] = ("negative", "positive")
    values: tuple[float, ...] = (-1.0, 1.0)
    head = ScoredHead

    @cached_property
    def parts(self) -> dict[Split, mosi.Part]:
        """The splits as they are read."""
        return mosi.load(self.data)

    def load(self) -> Mapping[Split, UtteranceSplit]:
        """See Conversations."""
        return {
            split: _utterances(part, {name: torch.from_numpy(x) for name, x in part.features.items()})
            for split, part in self.parts.items()
        }

    def fingerprint(self) -> str:
        """Return the hash of manifest and features, and of who validates."""
        return recipe_hash(self._files())

    def _files(self) -> dict[str, object]:
        files = {
            name: file_sha256(corpus_file(self.data, mosi.CORPUS, name)) for name in (mosi.MANIFEST, mosi.FEATURES)
        }
        return {**files, "validation": sorted({segment.video for segment in self.parts["valid"].segments})}


class Mosi(MosiPublished):
    """Transcripts and published audio features; see the module."""

    name: str = "mosi"

    @cached_property
    def encoder(self) -> OpinionEncoder:
        """Of the transcripts."""
        return OpinionEncoder(self.data, self.cache)

    def load(self) -> Mapping[Split, UtteranceSplit]:
        """See Conversations."""
        texts = {
            split: [mosi.readable(segment.text) for segment in part.segments] for split, part in self.parts.items()
        }
        text = self.encoded(self.encoder, texts)
        return {
            split: _utterances(part, {"audio": torch.from_numpy(part.features["audio"]), "text": text[split]})
            for split, part in self.parts.items()
        }

    def fingerprint(self) -> str:
        """Return the hash of transcripts, encoder and audio features."""
        return recipe_hash({**self._files(), "text": self.encoder.key()})


def _utterances(part: mosi.Part, features: dict[str, torch.Tensor]) -> UtteranceSplit:
    return UtteranceSplit(
        ids=[segment.id for segment in part.segments],
        conversation=[segment.video for segment in part.segments],
        features=features,
        target=torch.tensor([int(segment.positive) for segment in part.segments]),
        score=torch.tensor([segment.sentiment / 3 for segment in part.segments]),
    )
