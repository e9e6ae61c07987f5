"""Label orders and the valence of each emotion. Every probability vector in the project uses these orders."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

EMOTIONS: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
POLARITIES: Final = ("negative", "neutral", "positive")
MODALITIES: Final = ("audio", "video", "text")
"""Order of every per-modality vector: masks, contributions, statuses."""

VALENCE: Final[dict[str, float]] = {
    "angry": -0.7,
    "disgust": -0.7,
    "fear": -0.65,
    "happy": 0.85,
    "sad": -0.65,
    "surprise": 0.2,
    "neutral": 0.0,
}
"""Sentiment in [-1, 1] that stands for an emotion label where a corpus has no sentiment of its own.

The values are the pleasure axis of the emotion terms in Russell & Mehrabian (1977), *Evidence for a three-factor theory
of emotions*, J. Res. Personality 11, rounded to 0.05; surprise, which has no sign of its own, is set slightly positive.
"""

NEUTRAL_BAND: Final = 0.1
"""Half width of the neutral polarity: |sentiment| below it is neutral."""


def polarity_of(sentiment: float) -> str:
    """Return the polarity of a sentiment in [-1, 1]; raises ValueError outside that range."""
    if not -1.0 <= sentiment <= 1.0:
        raise ValueError(f"sentiment must be in [-1, 1], got {sentiment}")
    if abs(sentiment) < NEUTRAL_BAND:
        return "neutral"
    return "positive" if sentiment > 0 else "negative"


def sentiment_of(polarity: Sequence[float] | NDArray[np.float32]) -> float:
    """Return the sentiment in [-1, 1] that probabilities [3] of the polarities stand for: P(positive) - P(negative).

    It is the mean of -1, 0 and 1 under the polarities. So its sign can't contradict the more probable side, and it is
    linear: the sentiment of a mean of polarities is the mean of their sentiments.
    """
    return float(polarity[POLARITIES.index("positive")] - polarity[POLARITIES.index("negative")])
