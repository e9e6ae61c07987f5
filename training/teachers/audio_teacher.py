"""The audio teacher: a small net over Whisper's hidden states, trained on RAVDESS.

What it tells the student about a training clip is out of fold: it comes from nets that have not heard that actor, since
an overfit teacher has nothing to teach.
"""

import logging
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from contract.labels import EMOTIONS
from training.data import ravdess
from training.metrics import classification_scores
from training.teachers.cache import SPLITS
from training.teachers.net_recipes import known
from training.teachers.probe import ProbeRecipe, folds_of, out_of_fold
from training.teachers.whisper import WhisperFeatures

log = logging.getLogger(__name__)

RECIPE: Final = ProbeRecipe(hidden=256)


def teach(folder: Path, data: Path, out: Path) -> dict[str, float]:
    """Train the teacher and write its out-of-fold logits for the training clips to `out`.

    `out` holds `clips` (file names), `logits` [N, 7] and `metrics`: accuracy out of fold, on valid and on test.
    """
    features = WhisperFeatures(folder)
    clips = {split: ravdess.load(data, split) for split in SPLITS}
    target = {split: _labels(part) for split, part in clips.items()}
    speakers = torch.tensor([int(clip.actor) for clip in clips["train"]])
    x = {split: _inputs(features, part) for split, part in clips.items()}
    outputs = out_of_fold(x, target["train"], folds_of(speakers), len(EMOTIONS), RECIPE)
    logits = {split: known(output.logits) for split, output in outputs.items()}
    metrics = {
        "out_of_fold" if split == "train" else split: classification_scores(logits[split], target[split]).accuracy
        for split in SPLITS
    }
    log.info("teacher: %s", metrics)
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"clips": [clip.path.name for clip in clips["train"]], "logits": logits["train"], "metrics": metrics}, out
    )
    return metrics


def _inputs(features: WhisperFeatures, clips: list[ravdess.Clip]) -> Tensor:
    return torch.stack([features.statistics(ravdess.read_pcm(clip.path)) for clip in clips])


def _labels(clips: list[ravdess.Clip]) -> Tensor:
    return torch.from_numpy(np.array([EMOTIONS.index(clip.emotion) for clip in clips]))
