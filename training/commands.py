"""Commands of distillation: methods, train-teacher, distill, evaluate.

Knows arguments and what is printed; all work is done elsewhere, and imported when a command needs it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

from training.data.folder import DATA_VARIABLE, DataMissingError, data_root

if TYPE_CHECKING:
    from training.data.task import Split, Task

Data = Annotated[Path | None, typer.Option(help="Research data.", envvar=DATA_VARIABLE)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="path.to.key=value over the recipe, as methods.0.temperature=2. Repeatable."),
]
Threads = Annotated[int, typer.Option(help="CPU threads.")]
console = Console()


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line of `training`."""
    app.command("methods")(methods)
    app.command("train-teacher")(train_teacher)
    app.command("distill")(distill)
    app.command("evaluate")(evaluate)


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


def train_teacher(
    task: Annotated[
        str, typer.Argument(help="ravdess, fer2013, sst2, sst5, mosi, mosi_published, meld, composed or folder.")
    ],
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
            measures = measure(output, found.samples(split), found.labels)
            _print_measures(f"{teacher} on {task}, {split}", measures)


def distill(
    recipe: Annotated[Path, typer.Argument(help="TOML file; see recipes/.")],
    settings_behind: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As --set.")] = None,
    settings: Settings = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Without: runs/distill/RECIPE-SEED.")] = None,
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
        task = _task(wanted.task, data)
        result = distil(wanted, task, folder, (Bar(task.metric), Board(folder / "logs")))
    if int(os.environ.get("RANK", "0")) == 0:
        _print_result(result, folder)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of `distill`.")],
    split: Annotated[str, typer.Option(help="valid or test.")] = "valid",
    data: Data = None,
    threads: Threads = 2,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Measure a run's student again: accuracy, F1, calibration error, confusion matrix, per gender, and of scores
    Acc2, Acc7, mean absolute error and correlation."""
    import torch

    from training.engine.evaluation import outputs_of
    from training.engine.metrics import measure
    from training.engine.recipe import recipe_of
    from training.engine.result import RESULT, read_report
    from training.engine.tables import RecipeError
    from training.engine.trainer import STUDENT

    with clear_errors(threads):
        if split not in ("valid", "test"):
            raise RecipeError(f"--split is valid or test, not {split!r}")
        recipe = recipe_of(read_report(run / RESULT)["recipe"])
        task = _task(recipe.task, data)
        student = task.student(recipe.student)
        student.load_state_dict(torch.load(run / STUDENT, weights_only=True))
        samples = task.samples(split)  # type: ignore[arg-type]
        measures = measure(outputs_of(student, samples, torch.device("cpu")), samples, task.labels)
    if as_json:
        typer.echo(json.dumps(measures, indent=1))
    else:
        _print_measures(f"{recipe.title} on {task.name}, {split}", measures)
        _print_confusion(measures, task.labels)


def _task(name: str, data: Path | None) -> "Task":
    from training.data.tasks import TASKS
    from training.engine.tables import RecipeError

    try:
        make = TASKS.named(name)
    except ValueError as error:
        raise RecipeError(f"task: {error}") from None
    return make(data_root(data))


@contextmanager
def clear_errors(threads: int) -> Iterator[None]:
    """Turn the errors that a user can mend into one sentence and exit code 2."""
    import torch

    from training.engine.checkpoint import ResumeError
    from training.engine.tables import RecipeError
    from training.teachers.fetch import TeacherError

    torch.set_num_threads(threads)
    try:
        yield
    except (RecipeError, ResumeError, DataMissingError, TeacherError, FileNotFoundError, FloatingPointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


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
