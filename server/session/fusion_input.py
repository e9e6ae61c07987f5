"""Lays the embeddings of a window's pieces out as the tensors of the `fusion` model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.models import EMBEDDING_DIM
from contract.text import TEXT_TOKENS
from contract.timing import AUDIO_SLOTS, AUDIO_SLOTS_PER_HOP, VIDEO_SLOT_NS, VIDEO_SLOTS, WINDOW_NS
from server.session.messages import Modality
from server.session.pieces import Piece, Status, WindowPlan

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """What an encoder says of one piece."""

    embedding: Array
    """[AUDIO_SLOTS_PER_HOP, D], [D] or [TEXT_TOKENS, D]."""
    emotion: Array
    """[len(EMOTIONS)]"""
    sentiment: float
    mask: Array | None = None
    """Of text: [TEXT_TOKENS]."""


@dataclass(frozen=True)
class ModalityView:
    """One modality in one window: its status, coverage, and its encoder's own scores averaged over the window."""

    status: Status
    coverage: float
    emotion: Array | None
    sentiment: float | None


@dataclass(frozen=True)
class WindowInput:
    """A window ready for fusion."""

    tensors: dict[str, Array]
    """Inputs of `fusion`, without the batch dimension."""
    views: dict[Modality, ModalityView]

    @property
    def is_empty(self) -> bool:
        """Nothing in the window carries data."""
        return not any(self.tensors[f"{modality.upper()}_MASK"].any() for modality in Modality)


def assemble(plan: WindowPlan, encoded: Mapping[Piece, Encoded]) -> WindowInput:
    """Lay out a window. Pieces that are not in `encoded` could not be encoded: they are masked, and DROPPED."""
    tensors = {
        "AUDIO": np.zeros((AUDIO_SLOTS, EMBEDDING_DIM), dtype=np.float32),
        "AUDIO_MASK": np.zeros(AUDIO_SLOTS, dtype=np.float32),
        "VIDEO": np.zeros((VIDEO_SLOTS, EMBEDDING_DIM), dtype=np.float32),
        "VIDEO_MASK": np.zeros(VIDEO_SLOTS, dtype=np.float32),
        "TEXT": np.zeros((TEXT_TOKENS, EMBEDDING_DIM), dtype=np.float32),
        "TEXT_MASK": np.zeros(TEXT_TOKENS, dtype=np.float32),
    }
    for number, hop in enumerate(plan.hops):
        if hop is not None and hop in encoded:
            slots = slice(number * AUDIO_SLOTS_PER_HOP, (number + 1) * AUDIO_SLOTS_PER_HOP)
            tensors["AUDIO"][slots] = encoded[hop].embedding * hop.mask[:, None]
            tensors["AUDIO_MASK"][slots] = hop.mask
    for number, face in enumerate(plan.faces):
        if face is not None and face in encoded:
            tensors["VIDEO"][number] = encoded[face].embedding
            tensors["VIDEO_MASK"][number] = 1.0
    if plan.words is not None and plan.words in encoded:
        words = encoded[plan.words]
        assert words.mask is not None
        tensors["TEXT"] = words.embedding * words.mask[:, None]
        tensors["TEXT_MASK"] = words.mask
    return WindowInput(tensors, _views(plan, encoded, tensors))


def _views(
    plan: WindowPlan, encoded: Mapping[Piece, Encoded], tensors: Mapping[str, Array]
) -> dict[Modality, ModalityView]:
    pieces: dict[Modality, tuple[Piece, ...]] = {
        Modality.AUDIO: tuple(hop for hop in plan.hops if hop is not None),
        Modality.VIDEO: tuple(face for face in plan.faces if face is not None),
        Modality.TEXT: () if plan.words is None else (plan.words,),
    }
    share = (plan.end_ns - plan.start_ns) / WINDOW_NS
    slots = {
        Modality.AUDIO: round(AUDIO_SLOTS * share),
        # Before the first four seconds are over, the oldest slot may be a part of one.
        Modality.VIDEO: min(VIDEO_SLOTS, -(-plan.end_ns // VIDEO_SLOT_NS)),
    }
    views = {}
    for modality, own in pieces.items():
        done = [encoded[piece] for piece in own if piece in encoded]
        if modality == Modality.TEXT:
            coverage = float(bool(done))
        else:
            coverage = float(tensors[f"{modality.upper()}_MASK"].sum()) / slots[modality]
        status = plan.statuses[modality]
        views[modality] = ModalityView(
            status=Status.DROPPED if status == Status.USED and len(done) < len(own) else status,
            coverage=min(1.0, coverage),
            emotion=np.mean([one.emotion for one in done], axis=0) if done else None,
            sentiment=float(np.mean([one.sentiment for one in done])) if done else None,
        )
    return views
