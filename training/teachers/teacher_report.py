"""Measures every teacher of the benchmark's tasks and writes docs/results/teachers.json.

    python -m training.teachers.teacher_report --data DIR

Computes what is not cached yet. `train` is out of fold unless `seen` says otherwise: it is what students are taught.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer

from training.data.calibration import classification_scores
from training.data.folder import DATA_VARIABLE, data_root
from training.data.task import Task
from training.data.tasks import TASKS
from training.teachers.cache import SPLITS
from training.teachers.fetch import TeacherError

BENCH: Final = ("ravdess", "fer2013", "sst2")


def teacher_scores(task: Task) -> dict[str, Any]:
    """Return accuracy, macro F1 (in per cent) and calibration error of every teacher on every split."""
    scores: dict[str, Any] = {}
    for name in task.teacher_names:
        bank = task.teacher(name)
        try:
            measured: dict[str, Any] = {}
            for split in SPLITS:
                logits, target = bank.outputs(split).logits, task.samples(split).target
                assert logits is not None
                assert target is not None
                measured[split] = classification_scores(logits, target).rounded()
            scores[name] = {"seen": bank.seen, **measured}
        except TeacherError as error:
            scores[name] = {"missing": str(error)}
    return scores


def main(
    data: Annotated[Path | None, typer.Option(help="Research data.", envvar=DATA_VARIABLE)] = None,
    out: Annotated[Path, typer.Option(help="Report.")] = Path("docs/results/teachers.json"),
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Measure the teachers of ravdess, fer2013 and sst2."""
    torch.set_num_threads(threads)
    started = time.monotonic()
    report: dict[str, Any] = {
        "command": "python -m training.teachers.teacher_report",
        "note": "train: out of fold, unless `seen`; RAVDESS train holds every clip at three speeds",
    }
    for name in BENCH:
        task = TASKS[name](data_root(data))
        sizes = {split: len(task.samples(split)) for split in SPLITS}
        report[name] = {"fingerprint": task.fingerprint(), "samples": sizes, "teachers": teacher_scores(task)}
    report["seconds"] = round(time.monotonic() - started, 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")
    typer.echo(out.read_text())


if __name__ == "__main__":
    typer.run(main)
