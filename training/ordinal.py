"""A continuous sentiment as classes and back, so that response methods work for scores.

The softmax of one output is constant, so a score must become several logits before its shape can be distilled. Bins
are evenly spaced, ordered classes; seven of them on [-1, 1] are the ratings -3 .. 3 of MOSI and MOSEI over 3. Knows
nothing of methods and models.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.outputs import Output


@dataclass(frozen=True)
class OrdinalScale:
    """Evenly spaced bins of a score."""

    bins: int = 7
    """Number of classes."""
    low: float = -1.0
    """Centre of the first bin."""
    high: float = 1.0
    """Centre of the last bin."""

    def __post_init__(self) -> None:
        if self.bins < 2 or not self.low < self.high:
            raise ValueError(f"a scale needs two or more bins and low < high, got {self}")

    def centers(self, like: Tensor) -> Tensor:
        """Scores [bins] that the bins stand for, with the device and precision of `like`."""
        return torch.linspace(self.low, self.high, self.bins, dtype=like.dtype, device=like.device)

    def index(self, score: Tensor) -> Tensor:
        """Nearest bin [B] of scores [B], clamped; halves go to the even bin, as in the field's seven-class accuracy."""
        return self._position(score).round().long()

    def two_hot(self, score: Tensor) -> Tensor:
        """Probabilities [B, bins] of scores [B], on the two nearest bins: their expected value is the clamped score."""
        position = self._position(score).unsqueeze(-1)
        return (1 - (position - torch.arange(self.bins, device=score.device)).abs()).clamp_min(0)

    def logits(self, score: Tensor) -> Tensor:
        """Finite logits [B, bins] of scores [B], of the binomial distribution whose expected value is the score.

        One peak and no free width, as in Beckham & Pal, *Unimodal Probability Distributions for Deep Ordinal
        Classification*, ICML 2017. Scores are clamped a thousandth of the range inside the ends, where logits are
        infinite.
        """
        share = (self._position(score) / (self.bins - 1)).clamp(1e-3, 1 - 1e-3).unsqueeze(-1)
        ways = [math.log(math.comb(self.bins - 1, k)) for k in range(self.bins)]
        return torch.tensor(ways, dtype=score.dtype, device=score.device) + torch.logit(share) * torch.arange(
            self.bins, device=score.device
        )

    def expected(self, logits: Tensor) -> Tensor:
        """Expected score [B] under softmax(logits [B, bins])."""
        return logits.softmax(-1) @ self._centers_for(logits)

    def variance(self, logits: Tensor) -> Tensor:
        """Variance [B] of the score under softmax(logits [B, bins])."""
        distance = self._centers_for(logits) - self.expected(logits).unsqueeze(-1)
        return (logits.softmax(-1) * distance.square()).sum(-1)

    def _position(self, score: Tensor) -> Tensor:
        """The score in units of bins, 0 .. bins - 1."""
        return (score.clamp(self.low, self.high) - self.low) * ((self.bins - 1) / (self.high - self.low))

    def _centers_for(self, logits: Tensor) -> Tensor:
        if logits.shape[-1] != self.bins:
            raise ValueError(f"the scale has {self.bins} bins, the logits are {tuple(logits.shape)}")
        return self.centers(logits)


SENTIMENT = OrdinalScale()
"""Seven bins of the project's sentiment."""


def as_ordinal(output: Output, scale: OrdinalScale = SENTIMENT) -> Output:
    """The same outputs with logits [B, bins] made from the score; for teachers that only score.

    Raises:
        ValueError: there are logits already, or no score.
    """
    if output.logits is not None:
        raise ValueError("the output has logits already")
    if output.score is None:
        raise ValueError("the output has no score to make ordinal logits from")
    return replace(output, logits=scale.logits(output.score))


def as_score(output: Output, scale: OrdinalScale = SENTIMENT) -> Output:
    """The same outputs with score and variance [B] read out of ordinal logits [B, bins].

    Raises:
        ValueError: there is a score already, no logits, or another number of bins.
    """
    if output.score is not None:
        raise ValueError("the output has a score already")
    if output.logits is None:
        raise ValueError("the output has no logits to read a score out of")
    return replace(output, score=scale.expected(output.logits), variance=scale.variance(output.logits))
