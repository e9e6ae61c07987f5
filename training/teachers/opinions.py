"""MiniLM tuned on degrees of opinion, as an encoder of transcripts: what is said of films, by people who talk.

Trained for one epoch on reviews, tweets and editorials (training/data/corpora.py: `opinion_sentences`), half of them
without punctuation, as recognisers write (case is nothing to MiniLM); on no sentence of the corpora that it encodes.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from training.data.corpora import opinion_sentences, text_targets
from training.data.sentences import bare
from training.teachers.cache import recipe_hash
from training.teachers.fetch import PACKAGES, teacher_folder
from training.teachers.text_teacher import BATCH, FROZEN_LAYERS, LEARNING_RATE, MAX_TOKENS, TextTeacher, fine_tune

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpinionTuning:
    """How the encoder is tuned, beside what `training.teachers.text_teacher` fixes."""

    bare: float = 0.5
    """Share of the sentences without their punctuation."""
    seed: int = 0

    def key(self) -> dict[str, object]:
        """For the cache."""
        fixed = {"batch": BATCH, "learning_rate": LEARNING_RATE, "tokens": MAX_TOKENS, "frozen": FROZEN_LAYERS}
        return {**asdict(self), **fixed}


class OpinionEncoder:
    """Texts -> vectors [N, 385]: the encoder's mean state, then its sentiment."""

    def __init__(self, data: Path, cache: Path, tuning: OpinionTuning | None = None) -> None:
        """Take the data folder, and the folder for weights: MiniLM's, and those that are tuned here once."""
        self.data, self.cache = data, cache
        self.tuning = tuning or OpinionTuning()

    def key(self) -> dict[str, object]:
        """What the vectors depend on, for the cache."""
        return {
            "source": "opinions",
            "weights": PACKAGES["minilm"].sha256,
            "corpora": self._corpora,
            "tuning": self.tuning.key(),
        }

    @cached_property
    def _corpora(self) -> str:
        """Their hash, which takes seconds; a run asks for it at every evaluation."""
        return recipe_hash({"texts": [[s.text, s.sentiment, s.polarity] for s in opinion_sentences(self.data)]})

    def describe(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors, [N, 385]; tunes the encoder where that was not done yet (minutes).

        Raises:
            TeacherError: MiniLM's package is missing; says which command brings it.
            DataMissingError: a corpus is missing.
        """
        pooled, _, sentiment = self._tuned().describe(texts)
        return torch.cat([pooled, sentiment.unsqueeze(-1)], dim=-1)

    def _tuned(self) -> TextTeacher:
        path = self.cache / "tuned" / f"opinions-{recipe_hash(self.key())}.pt"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.tuning.seed)
            net = TextTeacher(teacher_folder("minilm", self.cache / "teachers"))
            if not path.is_file():
                log.info("tuning MiniLM on opinions; kept in %s", path)
                self._tune(net)
                path.parent.mkdir(parents=True, exist_ok=True)
                beside = path.with_suffix(f".{os.getpid()}.tmp")
                torch.save(net.state_dict(), beside)
                beside.replace(path)
        net.load_state_dict(torch.load(path, weights_only=True, mmap=True))
        return net

    def _tune(self, net: TextTeacher) -> None:
        sentences = opinion_sentences(self.data)
        spoken = torch.rand(len(sentences)) < self.tuning.bare
        texts = [(bare(s.text) or s.text) if lost else s.text for s, lost in zip(sentences, spoken, strict=True)]
        net.freeze_lower_layers(FROZEN_LAYERS)
        fine_tune(net, texts, text_targets(sentences), torch.arange(len(texts)))
