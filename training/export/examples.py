"""Real inputs of every model, on which an export is checked."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from contract.timing import AUDIO_SLOTS, CONTEXT_SAMPLES, VIDEO_SLOTS, WINDOW_SAMPLES
from training.data import fer2013, ravdess, vader
from training.data.hops import chunks_of
from training.data.tokenizer import encode_texts
from training.models import Window

Arrays = dict[str, NDArray[Any]]
_WINDOWS: Final = 4
_PRESENCE: Final = ((1, 1, 1), (1, 0, 1), (0, 1, 0), (1, 1, 0))
"""Modalities that are there in each example window, in the order audio, video, text."""


def example_inputs(root: Path, tokenizer: Tokenizer, window: Window) -> dict[str, Arrays]:
    """Return inputs by model and tensor name, from the validation splits under `root`.

    `window` gives the embeddings that are fusion's inputs. Raises DataMissingError.
    """
    clips = [ravdess.read_pcm(clip.path) for clip in ravdess.load(root, "valid")[:: 120 // _WINDOWS][:_WINDOWS]]
    faces = fer2013.to_rgb(fer2013.enlarge(fer2013.load(root, "valid").images[: _WINDOWS * VIDEO_SLOTS]))
    texts = [sentence.text for sentence in vader.load(root, "valid")[:_WINDOWS]]
    ids, mask = (tensor.numpy() for tensor in encode_texts(tokenizer, texts))
    windows = _windows(clips, faces, ids, mask)
    return {
        "audio_encoder": {"PCM": np.concatenate([chunks_of(clip) for clip in clips])},
        "video_encoder": {"FACE": faces},
        "text_encoder": {"INPUT_IDS": ids, "ATTENTION_MASK": mask},
        "window": windows,
        "fusion": _fusion(windows, window),
    }


def _windows(
    clips: list[NDArray[np.float32]], faces: NDArray[np.uint8], ids: NDArray[np.int64], mask: NDArray[np.int64]
) -> Arrays:
    present = np.array(_PRESENCE, dtype=np.float32)
    pcm = np.zeros((_WINDOWS, CONTEXT_SAMPLES + WINDOW_SAMPLES), dtype=np.float32)
    audio_mask = np.zeros((_WINDOWS, AUDIO_SLOTS), dtype=np.float32)
    for i, clip in enumerate(clips):
        newest = clip[: pcm.shape[1]]
        pcm[i, pcm.shape[1] - len(newest) :] = newest
        audio_mask[i, -min(AUDIO_SLOTS, 5 * len(chunks_of(newest))) :] = present[i, 0]
    return {
        "PCM": pcm,
        "FACES": faces.reshape(_WINDOWS, VIDEO_SLOTS, *faces.shape[1:]),
        "INPUT_IDS": ids,
        "ATTENTION_MASK": mask,
        "AUDIO_MASK": audio_mask,
        "VIDEO_MASK": np.repeat(present[:, 1:2], VIDEO_SLOTS, axis=1),
        "TEXT_MASK": mask.astype(np.float32) * present[:, 2:],
    }


def _fusion(windows: Arrays, window: Window) -> Arrays:
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(array) for name, array in windows.items()}
        audio, video, text = window.embed(
            tensors["PCM"], tensors["FACES"], tensors["INPUT_IDS"], tensors["ATTENTION_MASK"]
        )
    embeddings = {"AUDIO": audio.numpy(), "VIDEO": video.numpy(), "TEXT": text.numpy()}
    return embeddings | {name: windows[name] for name in ("AUDIO_MASK", "VIDEO_MASK", "TEXT_MASK")}
