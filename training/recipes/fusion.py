"""Trains fusion over the frozen encoders, on the composed corpus, for all seven subsets of modalities."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.checkpoints import load_student
from training.data.composed import SUBSETS, Composed, Mixing, Windows, drop_modalities, wrong_share
from training.data.folder import Split
from training.data.tokenizer import load_tokenizer
from training.distillation.losses import classification, regression
from training.loop import Schedule, fit
from training.metrics import Scores, classification_scores, fit_temperature
from training.models import AudioEncoder, Fusion, TextEncoder, VideoEncoder, Window
from training.models.served.fusion import Fused, calibrated
from training.recipes.banks import compose_split
from training.recipes.run import Run

EPOCHS: Final = 8
STEPS: Final = 250
BATCH: Final = 64
LEARNING_RATE: Final = 1e-3
SMOOTHING: Final = 0.05
QUIET_SHARE: Final = 0.08
RATED_SHARE: Final = 0.2
SENTIMENT_WEIGHT: Final = 1.0
VALID_WINDOWS: Final = 2000
VALID_SEED: Final = 20260


def encoders(run: Run) -> Window:
    """Return the trained encoders with a fresh fusion; raises CheckpointMissingError."""
    window = Window(AudioEncoder(), VideoEncoder(), TextEncoder(), Fusion())
    for name in ("audio_encoder", "video_encoder", "text_encoder"):
        load_student(window.get_submodule(name), run.runs / name)
    return window.eval()


def train_fusion(run: Run) -> dict[str, float]:
    """Train, calibrate on validation and keep `<runs>/fusion/best.pt`; returns the validation metrics."""
    rng = run.start()
    window, tokenizer = encoders(run), load_tokenizer(run.tokenizer)
    student = window.fusion
    train, valid = (compose_split(window, run, tokenizer, split, rng) for split in ("train", "valid"))
    held_out = valid.draw(VALID_WINDOWS, np.random.default_rng(VALID_SEED))
    mixing = Mixing(reliability(window, train, valid), QUIET_SHARE, RATED_SHARE)

    def batches(_: int) -> Iterator[Windows]:
        for _ in range(STEPS):
            yield drop_modalities(train.draw(BATCH, rng, mixing), rng)

    def loss(batch: Windows) -> Tensor:
        fused = student.fuse(batch.embeddings, batch.masks)
        terms = classification(fused.emotion_logits, batch.emotion, SMOOTHING)
        terms = terms + classification(fused.polarity_logits, batch.polarity, SMOOTHING)
        return (terms + SENTIMENT_WEIGHT * regression(fused.sentiment, batch.sentiment)).mean()

    def validate() -> dict[str, float]:
        accuracy = {subset: scores.accuracy for subset, scores in subset_scores(student, held_out).items()}
        return {"score": float(np.mean(list(accuracy.values()))), **accuracy}

    folder = run.runs / "fusion"
    best = fit(student, batches, loss, validate, Schedule(run.epochs or EPOCHS, STEPS, LEARNING_RATE), folder)
    _calibrate(student, drop_modalities(held_out, np.random.default_rng(VALID_SEED)))
    torch.save(student.state_dict(), folder / "best.pt")
    return best


def reliability(window: Window, train: Composed, valid: Composed) -> tuple[float, float, float]:
    """Return, per modality, the share of wrong windows that makes training as hard as validation (`wrong_share`)."""
    seen, unseen = (
        _own_accuracy(window, part.draw(1000, np.random.default_rng(VALID_SEED))) for part in (train, valid)
    )
    audio, video, text = (wrong_share(s / 100, u / 100) for s, u in zip(seen, unseen, strict=True))
    return audio, video, text


@torch.inference_mode()
def _own_accuracy(window: Window, windows: Windows) -> list[float]:
    """Return the accuracy of each encoder's own head on the mean of a window's embeddings."""
    accuracies = []
    for name, x, mask in zip(MODALITIES, windows.embeddings, windows.masks, strict=True):
        pooled = (x * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        logits, _ = window.get_submodule(f"{name}_encoder.head")(pooled)
        accuracies.append(classification_scores(logits, windows.emotion).accuracy)
    return accuracies


def subset_scores(student: Fusion, windows: Windows) -> dict[str, Scores]:
    """Return calibrated emotion scores for each of the seven subsets of modalities."""
    return {
        subset: classification_scores(
            fuse_all(student, windows.only(subset)).emotion_logits / student.temperature[1], windows.emotion
        )
        for subset in SUBSETS
    }


@torch.inference_mode()
def fuse_all(student: Fusion, windows: Windows, batch: int = 256) -> Fused:
    """Fuse any number of windows."""
    student.eval()
    parts = [
        student.fuse(
            (
                windows.embeddings[0][i : i + batch],
                windows.embeddings[1][i : i + batch],
                windows.embeddings[2][i : i + batch],
            ),
            (windows.masks[0][i : i + batch], windows.masks[1][i : i + batch], windows.masks[2][i : i + batch]),
        )
        for i in range(0, len(windows.emotion), batch)
    ]
    return Fused(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _calibrate(student: Fusion, windows: Windows) -> None:
    fused = fuse_all(student, windows)
    student.temperature[0] = fit_temperature(fused.polarity_logits, windows.polarity)
    student.temperature[1] = fit_temperature(fused.emotion_logits, windows.emotion)


def evaluate_fusion(window: Window, run: Run) -> dict[str, dict[str, float]]:
    """Return emotion, polarity and sentiment scores by split and subset, on composed windows."""
    tokenizer = load_tokenizer(run.tokenizer)
    report: dict[str, dict[str, float]] = {}
    splits: tuple[Split, ...] = ("valid", "test")
    for split in splits:
        rng = np.random.default_rng(VALID_SEED)
        windows = compose_split(window, run, tokenizer, split, rng).draw(
            VALID_WINDOWS, np.random.default_rng(VALID_SEED)
        )
        for subset in SUBSETS:
            fused = fuse_all(window.fusion, windows.only(subset))
            emotion = classification_scores(fused.emotion_logits / window.fusion.temperature[1], windows.emotion)
            polarity = classification_scores(fused.polarity_logits / window.fusion.temperature[0], windows.polarity)
            sentiment, *_ = calibrated(fused, window.fusion.temperature)
            error = float((sentiment.squeeze(-1) - windows.sentiment).abs().mean())
            report[f"{split} {subset}"] = emotion.rounded() | {
                "polarity_accuracy": round(polarity.accuracy, 2),
                "sentiment_mae": round(error, 4),
                **{
                    f"contribution_{name}": round(float(share), 3)
                    for name, share in zip(MODALITIES, fused.contribution.mean(dim=0), strict=True)
                },
            }
    return report
