"""Label orders and the valence of each emotion. Every probability vector in the project uses these orders."""

from typing import Final

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
