"""From a finished run to a new version of its model in a repository, beside the old one.

Triton and the server serve the newest two versions, and answer with the newest (`version_policy` of `config.pbtxt`).
"""

import os
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from contract.config_pbtxt import Profile, render_config
from contract.models import FUSION, MODELS, WINDOW
from contract.timing import AUDIO_SLOTS
from training.data.exported import model_file, versions
from training.data.served.fusion import ENCODERS, FusionTask
from training.data.task import Task
from training.data.tokenizer import tokenizer_sha256
from training.engine.recipe import recipe_of
from training.engine.result import RESULT, Report, read_report
from training.engine.tables import RecipeError
from training.engine.trainer import STUDENT
from training.export.cards import card_of, card_of_window
from training.export.onnx_files import to_onnx
from training.export.window import checked_window
from training.models.served.students import ServedStudent
from training.teachers.cache import file_sha256

_EXAMPLES: Final = 8
_WINDOWS: Final = 2


class ExportError(ValueError):
    """A run that can't be exported as it stands; says why."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    model: str
    version: int
    difference: float
    """Largest absolute difference from PyTorch, on real inputs."""
    note: str = ""
    """What should be done next."""


def served_student(run: Path, task: Task, report: Report) -> ServedStudent:
    """Return the student that a run of the task trained, in evaluation mode; raises ExportError."""
    recipe = recipe_of(report["recipe"])
    student = task.student(recipe.student)
    if not isinstance(student, ServedStudent):
        raise ExportError(
            f"{run} trained {recipe.student!r} of the task {recipe.task!r}, which is no served model; those that are "
            f"served are students of the tasks {', '.join(ENCODERS)}, fusion, folder_audio, folder_video, folder_text"
        )
    student.load_state_dict(torch.load(run / STUDENT, weights_only=True))
    return student.eval()


def export_run(run: Path, task: Task, repository: Path) -> Exported:
    """Write the student of a finished run as the next version of its model.

    Args:
        run: folder of a run of `distill`.
        task: the run's.
        repository: takes the version.

    Raises:
        ExportError: the student is not served, or fits other encoders or another tokenizer than the repository's.
        ParityError: the graph differs from PyTorch by more than 1e-4 on real inputs.
        RecipeError: no finished run.
    """
    report = read_report(run / RESULT)
    student = served_student(run, task, report)
    spec = MODELS[student.served]
    _check_fit(run, task, repository)
    samples = task.samples("valid")
    inputs = {name: tensor[:_EXAMPLES] for name, tensor in samples.inputs.items()}
    tensors = student.tensors(inputs)
    examples = {t.name: x.contiguous().numpy() for t, x in zip(spec.inputs, tensors, strict=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        content, difference = to_onnx(student.model, spec, examples)
    version = add_version(repository, spec.name, content, card_of(spec, report, difference))
    return Exported(spec.name, version, difference, _note(repository, spec.name))


def recompose(repository: Path) -> Exported:
    """Write a new version of `window`, composed of the newest encoders and fusion."""
    content, difference = checked_window(repository, example_windows(_WINDOWS))
    parts = {name: versions(repository, name)[-1] for name in (*ENCODERS, FUSION.name)}
    version = add_version(repository, WINDOW.name, content, card_of_window(parts))
    return Exported(WINDOW.name, version, difference)


def add_version(repository: Path, model: str, content: bytes, card: str) -> int:
    """Write `model.onnx` and `model_card.md` of the next version, whole or not at all; return its number."""
    version = max(versions(repository, model), default=0) + 1
    beside = repository / model / f".{version}.{os.getpid()}.part"
    beside.mkdir(parents=True)
    (beside / "model.onnx").write_bytes(content)
    (beside / "model_card.md").write_text(card)
    beside.replace(repository / model / str(version))
    return version


def start_repository(source: Path, out: Path) -> None:
    """Copy a repository, newest versions only, to where none is."""
    for model in MODELS:
        newest = str(versions(source, model)[-1])
        names = {path.name for path in (source / model).iterdir() if path.is_dir()}
        shutil.copytree(source / model, out / model, ignore=lambda _, found: sorted((names - {newest}) & set(found)))  # noqa: B023
    shutil.copyfile(source / "LICENSE.md", out / "LICENSE.md")


def write_configs(repository: Path, profile: Profile) -> None:
    """Write every `config.pbtxt` anew, of the profile "cpu" or "gpu"."""
    sha256 = tokenizer_sha256(model_file(repository, "tokenizer", "tokenizer.json"))
    for spec in MODELS.values():
        (repository / spec.name / "config.pbtxt").write_text(render_config(spec, sha256, profile))


def example_windows(count: int) -> dict[str, NDArray[Any]]:
    """Return inputs of `window`: noise like speech and pixels, word pieces, some modalities missing."""
    rng = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {}
    for tensor in WINDOW.inputs:
        shape = (count, *tensor.shape)
        if tensor.name.endswith("MASK"):
            filled = np.arange(tensor.shape[0]) >= rng.integers(0, tensor.shape[0], (count, 1))
            inputs[tensor.name] = filled.astype(np.int64 if tensor.dtype == "INT64" else np.float32)
        elif tensor.dtype == "UINT8":
            inputs[tensor.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        elif tensor.dtype == "INT64":
            inputs[tensor.name] = rng.integers(4, 8000, shape)
        else:
            inputs[tensor.name] = (0.1 * rng.standard_normal(shape)).astype(np.float32)
    inputs["AUDIO_MASK"][-1, : AUDIO_SLOTS // 2] = 0
    return inputs


def tasks_of(runs: Iterable[Path]) -> dict[Path, str]:
    """Return the name of each run's task, encoders first: fusion's and the window's parts; raises RecipeError."""
    names = {}
    for run in runs:
        if not (run / RESULT).is_file():
            raise RecipeError(f"{run} holds no finished run: there is no {RESULT}")
        names[run] = str(read_report(run / RESULT)["task"])
    return dict(sorted(names.items(), key=lambda item: item[1] == "fusion"))


def _check_fit(run: Path, task: Task, repository: Path) -> None:
    """Raise ExportError where a student reads what the repository's other models don't give."""
    tokenizer = getattr(task, "tokenizer_file", None)
    if tokenizer is not None:
        theirs = model_file(repository, "tokenizer", "tokenizer.json")
        if file_sha256(tokenizer) != file_sha256(theirs):
            raise ExportError(f"{run} was trained with the tokenizer {tokenizer}, and {theirs} is another one")
    if isinstance(task, FusionTask):
        task.repository = repository
        report = read_report(run / RESULT)
        if report["data"]["sha256"] != task.fingerprint():
            raise ExportError(
                f"{run}: fusion was trained over other encoders than the newest of {repository}; train it over these: "
                f"python -m training distill recipes/fusion.toml --repository {repository}"
            )


def _note(repository: Path, model: str) -> str:
    if model not in ENCODERS:
        return ""
    return (
        f"fusion still reads the embeddings of the {model} before: train it over the new one, "
        f"python -m training distill recipes/fusion.toml --repository {repository}"
    )
