"""Teachers that go by words alone: VADER and NADE. They know no labels of ours; a small net on top does."""

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from training.teachers.fetch import PACKAGES, teacher_folder
from training.teachers.packages import import_package
from training.teachers.probe import ProbeRecipe
from training.teachers.text_source import TextSource


class Lexical(TextSource):
    """Few numbers a text."""

    probe: ClassVar[ProbeRecipe] = ProbeRecipe(
        hidden=32, seeds=1, steps=300, learning_rate=5e-3, weight_decay=0.01, dropout=(0.0, 0.1)
    )


class Vader(Lexical):
    """The lexicon and rules of Hutto & Gilbert (2014): shares of positive, negative, neutral words, and `compound`."""

    VERSION: Final = "3.3.2"

    def __init__(self, weights: Path = Path()) -> None:
        del weights
        module = import_package("vader", "vaderSentiment.vaderSentiment", f"vaderSentiment=={self.VERSION}")
        self.analyzer: Any = module.SentimentIntensityAnalyzer()

    def key(self) -> dict[str, object]:
        """For the cache."""
        return {"source": "vader", "lexicon": len(self.analyzer.lexicon), "version": self.VERSION}

    def describe(self, texts: Sequence[str]) -> Tensor:
        """[N, 4]."""
        scores = [self.analyzer.polarity_scores(text) for text in texts]
        return torch.tensor([[score[name] for name in ("pos", "neg", "neu", "compound")] for score in scores])


class Nade(Lexical):
    """NADE (Hotz-Behofsits et al.): fastText predicts 151 emojis, gradient-boosted trees make eight emotions of them.

    The vector holds the emotions, then the emojis' probabilities in the order of their numbers.
    """

    EMOTIONS: Final = ("anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust")
    EMOJIS: Final = 151

    def __init__(self, weights: Path) -> None:
        self.folder = teacher_folder("nade", weights)
        self.fasttext: Any = import_package("nade", "fasttext", "fasttext-predict")
        self.trees: Any = import_package("nade", "lightgbm", "lightgbm")

    def key(self) -> dict[str, object]:
        """For the cache."""
        return {"source": "nade", "weights": PACKAGES["nade"].sha256}

    def describe(self, texts: Sequence[str]) -> Tensor:
        """[N, 8 + 151]."""
        classifier = self.fasttext.load_model(str(self.folder / "nade_250k_hp.ftz"))
        lines = (self.folder / "emoji_frequencies.jsonl").read_text(encoding="utf-8").splitlines()
        column = {
            f"__label__{number}": i for i, number in enumerate(sorted(json.loads(line)["hash"] for line in lines))
        }
        emojis = np.zeros((len(texts), self.EMOJIS))
        for row, text in zip(emojis, texts, strict=True):
            for name, probability in zip(*classifier.predict(spaced(text), k=self.EMOJIS), strict=True):
                row[column[name]] = probability
        emotions = [self._booster(name).predict(emojis) for name in self.EMOTIONS]
        vector = np.concatenate([np.clip(np.stack(emotions, axis=1), 0, 1), emojis], axis=1)
        return torch.from_numpy(vector.astype(np.float32))

    def _booster(self, emotion: str) -> Any:
        with gzip.open(self.folder / f"reg_{emotion}.txt.gz", "rt", encoding="utf-8") as file:
            return self.trees.Booster(model_str=file.read())


def spaced(text: str) -> str:
    """Return the text as NADE was trained on it: lower case, spaces around punctuation."""
    return re.sub(r"\s+", " ", re.sub(r"\s*([^\w\s]+)\s*", r" \1 ", text)).lower().strip()
