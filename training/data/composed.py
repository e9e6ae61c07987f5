"""The composed corpus: real audio, faces and sentences of the same emotion, drawn together into windows.

Conditionally independent given the label, so it teaches weighting, noise and missing modalities, and no irony between
the channels. It holds embeddings, wherever they come from, and knows no model.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.labels import EMOTIONS, POLARITIES, VALENCE, polarity_of
from contract.timing import VIDEO_SLOTS

SUBSETS: Final = ("a--", "-v-", "--t", "av-", "a-t", "-vt", "avt")
"""The seven subsets of modalities that a window may have, in a report's order."""
_GAP_SHARE: Final = 0.1
"""Of face slots: no face found."""
_FACES_PER_WINDOW: Final = (1, 2, 3, 5)

Generator = np.random.Generator
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Bank:
    """Windows of one modality: tokens [N, slots, D] (any float type), mask [N, slots], emotion [N], sentiment [N]."""

    tokens: Tensor
    mask: Tensor
    emotion: Index
    """-1 where the corpus has no emotion."""
    sentiment: NDArray[np.float32]

    def draw(self, emotions: Index, rng: Generator) -> Index:
        """Return for each emotion the index of a random window with it."""
        return drawn(self.emotion, emotions, rng)


@dataclass(frozen=True)
class FaceBank:
    """Single faces, which a window repeats and mixes: tokens [N, D], emotion [N]."""

    tokens: Tensor
    emotion: Index

    def windows(self, emotions: Index, rng: Generator) -> tuple[Tensor, Tensor]:
        """Return tokens [B, 20, D] and mask [B, 20] of a few faces per window, with gaps, the newest slot last."""
        batch = len(emotions)
        kinds = rng.choice(_FACES_PER_WINDOW, batch)
        slot_kind = np.sort(rng.integers(0, kinds[:, None], (batch, VIDEO_SLOTS)), axis=1)
        faces = np.stack([drawn(self.emotion, emotions, rng) for _ in range(max(_FACES_PER_WINDOW))], axis=1)
        index = np.take_along_axis(faces, slot_kind, axis=1)
        filled = rng.integers(1, VIDEO_SLOTS + 1, batch)
        filled[rng.random(batch) < 0.7] = VIDEO_SLOTS
        mask = np.arange(VIDEO_SLOTS) >= VIDEO_SLOTS - filled[:, None]
        mask[:, :-1] &= rng.random((batch, VIDEO_SLOTS - 1)) >= _GAP_SHARE
        return self.tokens[torch.from_numpy(index)].float(), torch.from_numpy(mask.astype(np.float32))


@dataclass(frozen=True)
class Windows:
    """A batch for fusion."""

    embeddings: tuple[Tensor, Tensor, Tensor]
    masks: tuple[Tensor, Tensor, Tensor]
    emotion: Tensor
    """int64 [B], -1 without a label."""
    sentiment: Tensor
    polarity: Tensor
    """int64 [B]."""

    def only(self, subset: str) -> "Windows":
        """The same windows with the modalities of `subset` ("av-") alone."""
        masks = [
            mask if letter != "-" else torch.zeros_like(mask) for mask, letter in zip(self.masks, subset, strict=True)
        ]
        return Windows(self.embeddings, (masks[0], masks[1], masks[2]), self.emotion, self.sentiment, self.polarity)


@dataclass(frozen=True)
class Mixing:
    """What makes composed training windows harder than the plain ones of validation."""

    wrong: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Share of windows whose audio, face or text belongs to another emotion: the encoder has seen these people, and is
    to be as wrong as on those that it has not seen (see `wrong_share`)."""
    quiet: float = 0.0
    """Share of windows whose audio has no voice."""
    rated: float = 0.0
    """Share of windows around a sentence with a rating and no emotion."""


PLAIN: Final = Mixing()


@dataclass(frozen=True)
class Composed:
    """Draws windows from one split of each modality."""

    audio: Bank
    faces: FaceBank
    text: Bank
    rated_text: Bank | None = None
    quiet: Tensor | None = None
    """Audio windows without a voice, [N, 40, D]."""

    def draw(self, batch: int, rng: Generator, mixing: Mixing = PLAIN) -> Windows:
        """Return `batch` windows with all three modalities, emotions uniformly distributed."""
        emotions = rng.integers(0, len(EMOTIONS), batch)
        shown = [_spoil(emotions, share, rng) for share in mixing.wrong]
        audio_index, text_index = self.audio.draw(shown[0], rng), self.text.draw(shown[2], rng)
        audio, audio_mask = self.audio.tokens[audio_index].float(), self.audio.mask[audio_index].clone()
        video, video_mask = self.faces.windows(shown[1], rng)
        text, text_mask = self.text.tokens[text_index].float(), self.text.mask[text_index].clone()
        sentiment = np.array([VALENCE[EMOTIONS[e]] for e in emotions], dtype=np.float32)
        windows = Windows(
            (audio, video, text),
            (audio_mask, video_mask, text_mask),
            torch.from_numpy(emotions),
            torch.from_numpy(sentiment),
            torch.from_numpy(_polarities(sentiment)),
        )
        self._silence(windows, rng.random(batch) < mixing.quiet, rng)
        self._rate(windows, rng.random(batch) < mixing.rated, rng)
        return windows

    def _silence(self, windows: Windows, where: NDArray[np.bool_], rng: Generator) -> None:
        if self.quiet is not None and where.any():
            index = rng.integers(0, len(self.quiet), int(where.sum()))
            windows.embeddings[0][where] = self.quiet[index].float()
            windows.masks[0][where] = 1.0

    def _rate(self, windows: Windows, where: NDArray[np.bool_], rng: Generator) -> None:
        """Put a rated sentence in the place of the text, and mask audio and face, which would belong to no one."""
        if self.rated_text is None or not where.any():
            return
        index = rng.integers(0, len(self.rated_text.emotion), int(where.sum()))
        windows.embeddings[2][where] = self.rated_text.tokens[index].float()
        windows.masks[2][where] = self.rated_text.mask[index]
        windows.masks[0][where] = 0.0
        windows.masks[1][where] = 0.0
        sentiment = self.rated_text.sentiment[index]
        windows.emotion[where] = -1
        windows.sentiment[where] = torch.from_numpy(sentiment)
        windows.polarity[where] = torch.from_numpy(_polarities(sentiment))


def drop_modalities(windows: Windows, rng: Generator, all_three: float = 0.35) -> Windows:
    """Mask modalities so that every subset occurs; a window keeps at least one that it has."""
    present = torch.stack([mask.amax(dim=1) for mask in windows.masks], dim=1).numpy() > 0
    subsets = np.array([[letter != "-" for letter in subset] for subset in SUBSETS[:-1]])
    keep = subsets[rng.integers(0, len(subsets), len(present))]
    keep[rng.random(len(present)) < all_three] = True
    keep |= ~(keep & present).any(axis=1, keepdims=True)
    masks = [mask * torch.from_numpy(keep[:, i : i + 1].astype(np.float32)) for i, mask in enumerate(windows.masks)]
    return Windows(
        windows.embeddings, (masks[0], masks[1], masks[2]), windows.emotion, windows.sentiment, windows.polarity
    )


def wrong_share(seen_accuracy: float, unseen_accuracy: float) -> float:
    """Return the share of wrong windows at which accuracy on seen people falls to that on unseen ones, both in [0, 1].

    A window of another emotion is classified as the right one by chance, 1/7.
    """
    chance = 1 / len(EMOTIONS)
    return max(0.0, min(0.9, (seen_accuracy - unseen_accuracy) / max(seen_accuracy - chance, 1e-6)))


def _spoil(emotions: Index, share: float, rng: Generator) -> Index:
    other = rng.integers(0, len(EMOTIONS), len(emotions))
    return np.where(rng.random(len(emotions)) < share, other, emotions)


def drawn(labels: Index, wanted: Index, rng: Generator) -> Index:
    """Return for each wanted emotion the place of a random item with it, of items with these labels.

    Raises:
        ValueError: an emotion that no item has.
    """
    chosen = np.zeros(len(wanted), dtype=np.int64)
    for emotion in np.unique(wanted):
        candidates = np.flatnonzero(labels == emotion)
        if len(candidates) == 0:
            raise ValueError(f"no item with emotion {EMOTIONS[emotion]}")
        where = wanted == emotion
        chosen[where] = rng.choice(candidates, int(where.sum()))
    return chosen


def _polarities(sentiment: NDArray[np.float32]) -> Index:
    return np.array([POLARITIES.index(polarity_of(float(s))) for s in sentiment])
