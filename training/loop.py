"""The training loop that every recipe shares: one-cycle learning rate, log, best checkpoint on validation."""

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from training.checkpoints import load_student, save_student

log = logging.getLogger(__name__)
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps_per_epoch < 1:
            raise ValueError(f"a schedule needs at least one step, got {self.epochs} x {self.steps_per_epoch}")


def fit(
    student: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    loss: Callable[[Batch], Tensor],
    validate: Callable[[], dict[str, float]],
    schedule: Schedule,
    folder: Path,
) -> dict[str, float]:
    """Train `student`, keep the checkpoint with the highest validation `score`, and leave it loaded.

    Args:
        student: trained in place.
        batches: the batches of an epoch.
        loss: batch -> scalar.
        validate: metrics of the student in evaluation mode; `score` decides.
        schedule: see there.
        folder: takes `best.pt`, `metrics.json` and `log.jsonl`.

    Returns:
        The metrics of the kept checkpoint.
    """
    optimizer = torch.optim.AdamW(
        _parameter_groups(student, schedule.weight_decay), lr=schedule.learning_rate, betas=(0.9, 0.98)
    )
    steps = schedule.epochs * schedule.steps_per_epoch
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.learning_rate, total_steps=steps + 1, pct_start=0.15)
    best: dict[str, float] = {"score": float("-inf")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_text("")
    for epoch in range(schedule.epochs):
        started = time.monotonic()
        mean = _train_epoch(student, batches(epoch), loss, optimizer, pace, schedule.clip_norm)
        student.eval()
        with torch.inference_mode():
            metrics = {"epoch": epoch + 1.0, "train_loss": mean, **validate()}
        _report(folder, metrics, time.monotonic() - started)
        if metrics["score"] > best["score"]:
            best = metrics
            save_student(student, folder, dict(metrics))
    load_student(student, folder)
    student.eval()
    return best


def _train_epoch(
    student: nn.Module,
    batches: Iterable[Batch],
    loss: Callable[[Batch], Tensor],
    optimizer: torch.optim.Optimizer,
    pace: torch.optim.lr_scheduler.LRScheduler,
    clip_norm: float,
) -> float:
    student.train()
    total, count = 0.0, 0
    for batch in batches:
        value = loss(batch)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(student.parameters(), clip_norm)
        optimizer.step()
        pace.step()
        total, count = total + value.item(), count + 1
    return total / max(count, 1)


def _parameter_groups(student: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices only: norms and biases are left free."""
    trainable = [p for p in student.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _report(folder: Path, metrics: dict[str, float], seconds: float) -> None:
    line = {key: round(value, 4) for key, value in metrics.items()} | {"seconds": round(seconds, 1)}
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    log.info("%s", "  ".join(f"{key} {value:g}" for key, value in line.items()))
