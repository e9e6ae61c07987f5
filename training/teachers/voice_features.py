"""Hidden states of frozen speech encoders for many clips and views, pooled to 10 Hz, in half precision on disk."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.degraded_audio import view
from training.data.ravdess import read_pcm
from training.data.speech_clips import SpeechClip

log = logging.getLogger(__name__)

POOL: Final = 5
"""Encoder steps of 20 ms in one step of 100 ms."""


class SpeechEncoder(Protocol):
    """PCM -> hidden states of every layer, [T, E] each, 20 ms a step."""

    def layers(self, pcm: NDArray[np.float32]) -> list[Tensor]:
        """Return the states."""
        ...


@dataclass(frozen=True)
class ClipStates:
    """Of N clips in one view: the states of clip i are `values[end[i - 1]:end[i]]`, [T, L, E], 100 ms a step."""

    values: NDArray[np.float16]
    end: NDArray[np.int64]

    def of(self, clip: int) -> NDArray[np.float16]:
        """Return [T, L, E]."""
        return self.values[int(self.end[clip - 1]) if clip else 0 : int(self.end[clip])]


def clip_states(
    encoder: Callable[[], SpeechEncoder],
    name: str,
    first_layer: int,
    clips: Sequence[SpeechClip],
    what: str,
    folder: Path,
) -> ClipStates:
    """Return the states of every clip in view `what` (training.data.degraded_audio); computed once.

    Args:
        encoder: makes the encoder; called only where something is to compute.
        name: of the encoder, for the file.
        first_layer: the states before it are left out.
        clips: all clips, always in the same order.
        what: name of the view.
        folder: of the files.
    """
    file = folder / f"{name}-{what}.f16"
    meta = file.with_suffix(".json")
    if not meta.is_file():
        log.info("%s, %s: %d clips", name, what, len(clips))
        _compute(encoder(), first_layer, clips, what, file)
    known: dict[str, Any] = json.loads(meta.read_text())
    end = np.array(known["end"], dtype=np.int64)
    return ClipStates(np.memmap(file, np.float16, "r", shape=(int(end[-1]), *known["shape"])), end)


def pooled_states(layers: Sequence[Tensor]) -> NDArray[np.float16]:
    """Return [ceil(T / 5), L, E], means over 100 ms, of L states [T, E]."""
    parts = torch.split(torch.stack(list(layers), dim=1), POOL)
    return torch.stack([part.mean(0) for part in parts]).half().numpy()


def _compute(encoder: SpeechEncoder, first_layer: int, clips: Sequence[SpeechClip], what: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    counts: list[int] = []
    shape: tuple[int, ...] = ()
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as out:
        for number, clip in enumerate(clips):
            states = pooled_states(encoder.layers(view(what, read_pcm(clip.path), number))[first_layer:])
            out.write(states.tobytes())
            counts.append(len(states))
            shape = states.shape[1:]
    temporary.replace(file)
    meta = {"end": np.cumsum(counts).tolist(), "shape": list(shape)}
    file.with_suffix(".json").write_text(json.dumps(meta))
