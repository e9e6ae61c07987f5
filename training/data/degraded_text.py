"""Texts as a speech recogniser writes them: no capitals, no punctuation, now and then a wrong or a missing word.

Seeded: the same text and generator state give the same result. Used on training texts as augmentation, and on test
texts for the robustness tables.
"""

import re
from typing import Final

import numpy as np

from training.data.sentences import bare

CONFUSIONS: Final[dict[str, tuple[str, ...]]] = {
    "a": ("the", "uh"),
    "an": ("and", "in"),
    "and": ("an", "in"),
    "are": ("our", "or"),
    "been": ("bin", "being"),
    "buy": ("by",),
    "by": ("buy",),
    "for": ("four", "or"),
    "four": ("for",),
    "have": ("of", "half"),
    "hear": ("here",),
    "here": ("hear",),
    "his": ("is", "he's"),
    "in": ("and", "an"),
    "is": ("his", "as"),
    "it's": ("its", "is"),
    "know": ("no",),
    "of": ("a", "have"),
    "one": ("won",),
    "our": ("are",),
    "right": ("write",),
    "see": ("sea",),
    "than": ("then",),
    "that": ("the", "at"),
    "the": ("a", "that"),
    "their": ("there", "they're"),
    "there": ("their", "they're"),
    "they're": ("their", "there"),
    "to": ("too", "two"),
    "too": ("to", "two"),
    "two": ("to", "too"),
    "we're": ("were",),
    "were": ("we're", "where"),
    "where": ("were", "wear"),
    "will": ("we'll",),
    "would": ("wood", "will"),
    "you're": ("your",),
    "your": ("you're",),
}
"""Words that sound alike or are slurred, none of which carries sentiment."""
FILLERS: Final = ("uh", "um", "you know", "like", "well")


def recogniser_style(
    text: str,
    generator: np.random.Generator,
    *,
    wrong: float = 0.1,
    fillers: float = 0.05,
    unfinished: float = 0.0,
) -> str:
    """Return `text` in lower case without punctuation, with recognition errors.

    Args:
        text: as people write it.
        generator: of everything random.
        wrong: share of the confusable words (`CONFUSIONS`) that come out as another one, or not at all.
        fillers: probability of one filler, before a word of the first half.
        unfinished: probability that the last fifth to half of the words is not there yet.

    Raises:
        ValueError: a probability is outside [0, 1].
    """
    for name, share in (("wrong", wrong), ("fillers", fillers), ("unfinished", unfinished)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is a probability, got {share}")
    words = bare(text).lower().replace("\u2019", "'").split()
    if generator.random() < unfinished and len(words) >= 4:
        words = words[: len(words) - int(len(words) * generator.uniform(0.2, 0.5))]
    heard = [_heard(word, generator) if generator.random() < wrong else word for word in words]
    if len(words) >= 4 and generator.random() < fillers:
        place = int(generator.integers(0, len(words) // 2))
        heard.insert(place, FILLERS[int(generator.integers(len(FILLERS)))])
    return re.sub(r"\s+", " ", " ".join(heard)).strip()


def _heard(word: str, generator: np.random.Generator) -> str:
    """Return what stands in the place of `word`: an alternative, nothing in one of five cases, or itself."""
    others = CONFUSIONS.get(word)
    if others is None:
        return word
    return "" if generator.random() < 0.2 else others[int(generator.integers(len(others)))]
