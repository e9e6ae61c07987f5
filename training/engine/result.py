"""What a run leaves behind: one JSON with its configuration, data, seeds, metrics, time, memory and versions."""

import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from training.data.task import Inputs, Samples
from training.data.units import Units
from training.distillation.outputs import Output
from training.engine.meters import MEMORY_LIMIT_MIB, peak_memory_mib
from training.engine.metrics import Measures
from training.engine.progress import Progress
from training.engine.recipe import Recipe
from training.engine.tables import RecipeError

Report = dict[str, Any]
RESULT: Final = "result.json"
PREDICTIONS: Final = "predictions.npz"
FORMAT: Final = 1
_PACKAGES: Final = ("torch", "torchaudio", "transformers", "accelerate", "numpy", "scikit-learn")


def report_of(
    recipe: Recipe,
    progress: Progress,
    metrics: Mapping[str, Measures],
    data: Mapping[str, Any],
    student: Mapping[str, Any],
    processes: int,
) -> Report:
    """Put a run's report together.

    Args:
        recipe: as it ran, after overrides.
        progress: at the end.
        metrics: by split, of the checkpoint that validation chose; where the recipe asks for them, `subsets` and
            `dropout` hold those on test by subset and by rate (see training/engine/subsets.py).
        data: fingerprint of the task, and of each teacher's outputs.
        student: what `student_facts` measured.
        processes: that shared every batch.
    """
    shares = progress.watch.shares()
    peak = peak_memory_mib()
    return {
        "format": FORMAT,
        "task": recipe.task,
        "title": recipe.title,
        "seed": recipe.seed,
        "recipe": recipe.table(),
        "data": dict(data),
        "metrics": dict(metrics),
        "chosen_step": progress.stopping.best_step,
        "steps": progress.step,
        "stopped": progress.stopped,
        "student": dict(student),
        "history": [_rounded(row) for row in progress.history],
        "weights": {"steps": progress.weights.steps, **_rounded_columns(progress.weights.columns())},
        "seconds": {kind: round(spent, 2) for kind, spent in progress.watch.seconds.items()},
        "shares": {kind: round(share, 4) for kind, share in shares.items()},
        "peak_memory_mib": round(peak),
        "within_memory_limit": peak < MEMORY_LIMIT_MIB,
        **machine_facts(processes),
    }


def machine_facts(processes: int) -> Report:
    """Return what ran it: system, threads and versions."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {processes} x {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def student_facts(student: nn.Module, samples: Samples, repeats: int = 20) -> Report:
    """Return the number of parameters, and CPU milliseconds of one sample on one thread (median of `repeats`).

    An utterance is timed in its conversation: the split's first one, divided by its length. The student must be on the
    CPU and in evaluation mode.
    """
    first = Units.of(samples.unit, torch.arange(len(samples))).rows(torch.tensor([0]))
    one: Inputs = {name: tensor[first] for name, tensor in samples.inputs.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    try:
        with torch.inference_mode():
            student(one)
            for _ in range(repeats):
                started = time.perf_counter()
                student(one)
                times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    parameters = sum(parameter.numel() for parameter in student.parameters())
    return {"parameters": parameters, "cpu_ms": round(1e3 * statistics.median(times) / len(first), 3)}


def fingerprint_of(output: Output) -> str:
    """Return the first 16 hex digits of the SHA-256 of a teacher's answers."""
    digest = hashlib.sha256()
    for answers in (output.logits, output.score):
        if answers is not None:
            digest.update(answers.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_predictions(
    output: Output, samples: Samples, path: Path, on_subsets: Mapping[str, Output] | None = None
) -> None:
    """Keep what a student says about N samples beside the truth, for tests of significance: an npz.

    `ids` [N]; `unit` int64 [N], `Samples.cluster`; of `logits` [N, C] with `target` [N] and
    `predicted_score` with `score` [N], float32, those that there are; `subset_logits` [S, N, C], where the student was
    asked about S subsets of modalities.
    """
    found = {
        "unit": samples.cluster,
        "target": samples.target,
        "score": samples.score,
        "logits": output.logits,
        "predicted_score": output.score,
    }
    logits = [answer.logits for answer in (on_subsets or {}).values() if answer.logits is not None]
    if logits:
        found["subset_logits"] = torch.stack(logits)
    arrays = {name: tensor.numpy() for name, tensor in found.items() if tensor is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with beside.open("wb") as file:
        np.savez_compressed(file, ids=np.array(samples.ids), **arrays)
    beside.replace(path)


def write_report(report: Report, path: Path) -> None:
    """Write a report whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    beside.replace(path)


def read_report(path: Path) -> Report:
    """Read a report.

    Raises:
        RecipeError: it isn't one.
    """
    try:
        report: Report = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise RecipeError(f"{path} is no result of `distill` (format {FORMAT})")
    return report


def _rounded(row: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()}


def _rounded_columns(columns: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(value, 5) for value in column] for name, column in columns.items()}
