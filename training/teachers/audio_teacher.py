"""The audio teacher: a small net over Whisper's hidden states, trained on RAVDESS.

What it tells the student about a training clip is out of fold: it comes from nets that have not heard that actor, since
an overfit teacher has nothing to teach.
"""

import logging
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS
from training.data import ravdess
from training.data.calibration import classification_scores
from training.teachers.whisper import WhisperFeatures

log = logging.getLogger(__name__)

FOLDS: Final = 5
SEEDS: Final = 3
_STEPS: Final = 400
_HIDDEN: Final = 256


def teach(folder: Path, data: Path, out: Path) -> dict[str, float]:
    """Train the teacher and write its out-of-fold logits for the training clips to `out`.

    `out` holds `clips` (file names), `logits` [N, 7] and `metrics`: accuracy out of fold, on valid and on test.
    """
    features = WhisperFeatures(folder)
    train, valid, test = (ravdess.load(data, split) for split in ("train", "valid", "test"))
    x, y = _inputs(features, train), _labels(train)
    mean, deviation = x.mean(dim=0), x.std(dim=0) + 1e-5
    x = (x - mean) / deviation
    actors = sorted({clip.actor for clip in train})
    fold = torch.tensor([actors.index(clip.actor) % FOLDS for clip in train])
    logits = torch.zeros(len(train), len(EMOTIONS))
    for k in range(FOLDS):
        logits[fold == k] = _ensemble(x[fold != k], y[fold != k], x[fold == k])
    metrics = {"out_of_fold": classification_scores(logits, y).accuracy}
    for name, clips in (("valid", valid), ("test", test)):
        scores = classification_scores(_ensemble(x, y, (_inputs(features, clips) - mean) / deviation), _labels(clips))
        metrics[name] = scores.accuracy
    log.info("teacher: %s", metrics)
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"clips": [clip.path.name for clip in train], "logits": logits, "metrics": metrics}, out)
    return metrics


def _ensemble(x: Tensor, y: Tensor, unseen: Tensor) -> Tensor:
    """Return the mean logits for `unseen` [M, F] of a few nets trained on x [N, F], y [N]."""
    return torch.stack([_train(x, y, seed)(unseen).detach() for seed in range(SEEDS)]).mean(dim=0)


def _train(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Dropout(0.3), nn.Linear(x.shape[1], _HIDDEN), nn.ReLU(), nn.Dropout(0.5), nn.Linear(_HIDDEN, len(EMOTIONS))
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        index = torch.randint(len(x), (128,))
        loss = nn.functional.cross_entropy(net(x[index]), y[index], label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        pace.step()
    return net.eval()


def _inputs(features: WhisperFeatures, clips: list[ravdess.Clip]) -> Tensor:
    return torch.stack([features.statistics(ravdess.read_pcm(clip.path)) for clip in clips])


def _labels(clips: list[ravdess.Clip]) -> Tensor:
    return torch.from_numpy(np.array([EMOTIONS.index(clip.emotion) for clip in clips]))
