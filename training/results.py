"""Measures the trained students, and keeps what was measured with how it was made."""

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from training.export.students import compose
from training.metrics import Scores
from training.models import STUDENTS
from training.recipes.audio import evaluate_audio
from training.recipes.fusion import evaluate_fusion
from training.recipes.run import Run
from training.recipes.text import evaluate_text
from training.recipes.video import evaluate_video

_PACKAGES: Final = ("torch", "torchaudio", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy", "scikit-learn")
_TEACHERS: Final = {"audio_encoder": "whisper", "text_encoder": "minilm"}

Report = dict[str, Any]


def measure(run: Run) -> Report:
    """Return the metrics of every trained student on validation and test, and what made them.

    Raises:
        CheckpointMissingError, DataMissingError: something to measure, or to measure on, is not there.
    """
    window = compose(run.runs)
    metrics: dict[str, dict[str, Any]] = {
        "audio_encoder": _rounded(evaluate_audio(window.audio_encoder, run)),
        "video_encoder": _rounded(evaluate_video(window.video_encoder, run)),
        "text_encoder": _rounded(evaluate_text(window.text_encoder, run)),
        "fusion": evaluate_fusion(window, run),
    }
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m training evaluate-students",
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "students": {
            name: {**_made(name, run), **_size(window.get_submodule(name)), "metrics": metrics[name]}
            for name in STUDENTS
        },
    }


def write_report(report: Report, path: Path) -> None:
    """Write the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def _made(name: str, run: Run) -> Report:
    """Return the command, and what the run's log says."""
    lines = (run.runs / name / "log.jsonl").read_text().splitlines()
    epochs = [json.loads(line) for line in lines]
    made: Report = {
        "command": f"python -m training train {name.removesuffix('_encoder')} --seed {run.seed} --epochs {len(epochs)}",
        "seed": run.seed,
        "chosen_epoch": json.loads((run.runs / name / "metrics.json").read_text())["epoch"],
        "epochs": len(epochs),
        "train_seconds": round(sum(epoch["seconds"] for epoch in epochs)),
    }
    teacher = run.runs / "teachers" / f"{_TEACHERS[name]}.pt" if name in _TEACHERS else None
    if teacher is not None and teacher.is_file():
        stored = torch.load(teacher, weights_only=True)["metrics"]
        made["teacher"] = {"name": _TEACHERS[name], **{key: round(value, 2) for key, value in stored.items()}}
    return made


def _size(student: nn.Module) -> Report:
    return {"parameters": sum(parameter.numel() for parameter in student.parameters())}


def _rounded(scores: dict[str, Scores]) -> dict[str, dict[str, float]]:
    return {name: value.rounded() for name, value in scores.items()}
