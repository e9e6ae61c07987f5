"""Lays the embeddings of a result's pieces out as the tensors of the `fusion` model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.models import EMBEDDING_DIM
from contract.text import TEXT_TOKENS
from contract.timing import (
    AUDIO_SLOT_SAMPLES,
    AUDIO_SLOTS,
    AUDIO_SLOTS_PER_HOP,
    HOP_NS,
    SAMPLE_RATE,
    VIDEO_SLOT_NS,
    VIDEO_SLOTS,
    samples_to_ns,
)
from server.session.messages import Modality
from server.session.pieces import Face, FaceBox, Piece, Plan, Status

Array = NDArray[np.float32]
_AUDIO_SLOT_NS = samples_to_ns(AUDIO_SLOT_SAMPLES, SAMPLE_RATE)


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
    """One modality in one result: its status, coverage, and what its encoder alone says, averaged over the stretch."""

    status: Status
    coverage: float
    emotion: Array | None = None
    sentiment: float | None = None
    embedding: Array | None = None
    """[D]"""


@dataclass(frozen=True)
class FaceView:
    """One face in one result, and what the encoder says of it, averaged over the stretch."""

    face_id: int
    is_speaker: bool
    box: FaceBox | None
    """Where it was last."""
    coverage: float
    emotion: Array | None
    sentiment: float | None


@dataclass(frozen=True)
class FusionInput:
    """A result ready for fusion."""

    tensors: dict[str, Array]
    """Inputs of `fusion`, without the batch dimension."""
    views: dict[Modality, ModalityView]
    faces: tuple[FaceView, ...]
    """The speaker's first."""

    @property
    def is_empty(self) -> bool:
        """Nothing in the stretch carries data."""
        return not any(self.tensors[f"{modality.upper()}_MASK"].any() for modality in Modality)


@dataclass(frozen=True)
class _Layout:
    """One modality's embeddings [n, D] and mask [n] on the model's positions."""

    embeddings: Array
    mask: Array
    coverage: float


def assemble(plan: Plan, encoded: Mapping[Piece, Encoded]) -> FusionInput:
    """Lay out a result. Pieces that are not in `encoded` could not be encoded: they are masked, and DROPPED."""
    layouts = {
        Modality.AUDIO: _audio(plan, encoded),
        Modality.VIDEO: _video(plan, encoded),
        Modality.TEXT: _text(plan, encoded),
    }
    tensors: dict[str, Array] = {}
    for modality, layout in layouts.items():
        tensors[modality.upper()] = layout.embeddings
        tensors[f"{modality.upper()}_MASK"] = layout.mask
    pieces: dict[Modality, list[Piece]] = {
        Modality.AUDIO: [hop for hop in plan.hops if hop is not None],
        Modality.VIDEO: [face for face in plan.faces if face is not None],
        Modality.TEXT: [] if plan.words is None else [plan.words],
    }
    views = {one: _view(plan.statuses[one], layouts[one], own, encoded) for one, own in pieces.items()}
    return FusionInput(tensors, views, _faces(plan, encoded))


def _audio(plan: Plan, encoded: Mapping[Piece, Encoded]) -> _Layout:
    embeddings = np.zeros((len(plan.hops) * AUDIO_SLOTS_PER_HOP, EMBEDDING_DIM), dtype=np.float32)
    mask = np.zeros(len(embeddings), dtype=np.float32)
    for number, hop in enumerate(plan.hops):
        if hop is not None and hop in encoded:
            slots = slice(number * AUDIO_SLOTS_PER_HOP, (number + 1) * AUDIO_SLOTS_PER_HOP)
            embeddings[slots] = encoded[hop].embedding * hop.mask[:, None]
            mask[slots] = hop.mask
    # The hops reach over the stretch on both sides.
    first_slot = (-(-plan.end_ns // HOP_NS) - len(plan.hops)) * AUDIO_SLOTS_PER_HOP
    inside = slice(plan.start_ns // _AUDIO_SLOT_NS - first_slot, -(-plan.end_ns // _AUDIO_SLOT_NS) - first_slot)
    return _fit(embeddings[inside], mask[inside], AUDIO_SLOTS)


def _video(plan: Plan, encoded: Mapping[Piece, Encoded]) -> _Layout:
    # Slots before the session do not count.
    faces = plan.faces[-max(1, -(-plan.end_ns // VIDEO_SLOT_NS)) :]
    embeddings = np.zeros((len(faces), EMBEDDING_DIM), dtype=np.float32)
    mask = np.zeros(len(faces), dtype=np.float32)
    for number, face in enumerate(faces):
        if face is not None and face in encoded:
            embeddings[number] = encoded[face].embedding
            mask[number] = 1.0
    return _fit(embeddings, mask, VIDEO_SLOTS)


def _text(plan: Plan, encoded: Mapping[Piece, Encoded]) -> _Layout:
    words = encoded.get(plan.words) if plan.words is not None else None
    if words is None:
        return _Layout(np.zeros((TEXT_TOKENS, EMBEDDING_DIM), np.float32), np.zeros(TEXT_TOKENS, np.float32), 0.0)
    assert words.mask is not None
    return _Layout(words.embedding * words.mask[:, None], words.mask, 1.0)


def _fit(embeddings: Array, mask: Array, positions: int) -> _Layout:
    """Lay consecutive slots out on the model's positions: the newest is last.

    More slots than positions are gathered: each position then has the mean of the slots that it stands for, as many at
    each position as can be.
    """
    count = len(mask)
    if count > positions:
        starts = np.arange(positions) * count // positions
        found = np.add.reduceat(mask, starts)
        embeddings = np.add.reduceat(embeddings, starts, axis=0) / np.maximum(found, 1.0)[:, None]
        mask = (found > 0).astype(np.float32)
    before = positions - len(mask)
    return _Layout(
        np.pad(embeddings, ((before, 0), (0, 0))),
        np.pad(mask, (before, 0)),
        float(mask.mean()) if len(mask) else 0.0,
    )


def _view(status: Status, layout: _Layout, own: Sequence[Piece], encoded: Mapping[Piece, Encoded]) -> ModalityView:
    done = [encoded[piece] for piece in own if piece in encoded]
    present = layout.mask > 0
    return ModalityView(
        status=Status.DROPPED if status == Status.USED and len(done) < len(own) else status,
        coverage=layout.coverage,
        emotion=np.mean([one.emotion for one in done], axis=0) if done else None,
        sentiment=float(np.mean([one.sentiment for one in done])) if done else None,
        embedding=layout.embeddings[present].mean(axis=0) if present.any() else None,
    )


def _faces(plan: Plan, encoded: Mapping[Piece, Encoded]) -> tuple[FaceView, ...]:
    own = [face for face in plan.faces if face is not None]
    by_id: dict[int, list[Face]] = {}
    for face in [*own, *plan.others]:
        by_id.setdefault(face.face_id, []).append(face)
    slots = max(1, min(len(plan.faces), -(-plan.end_ns // VIDEO_SLOT_NS)))
    views = []
    for face_id, faces in by_id.items():
        done = [encoded[face] for face in faces if face in encoded]
        views.append(
            FaceView(
                face_id,
                is_speaker=bool(own) and face_id == own[0].face_id,
                box=faces[-1].box,
                coverage=min(1.0, len(faces) / slots),
                emotion=np.mean([one.emotion for one in done], axis=0) if done else None,
                sentiment=float(np.mean([one.sentiment for one in done])) if done else None,
            )
        )
    return tuple(views)
