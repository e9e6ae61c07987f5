"""Commands of the distillation package: methods, train-teacher, distill, evaluate, compare, bench, report.

Knows arguments and what is printed; all work is done elsewhere, and imported when a command needs it.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table as RichTable

from training.data.folder import DATA_VARIABLE, DataMissingError, data_root

if TYPE_CHECKING:
    from training.tasks.base import Split, Task

SUITE_RESULTS: Final = Path("docs/results")
PAGE: Final = Path("docs/results.md")
METHODS_PAGE: Final = Path("docs/methods.md")

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
    app.command("compare")(compare)
    app.command("bench")(bench)
    app.command("report")(report)


def methods(as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False) -> None:
    """List every method and weigher: family, paper, equation, what it needs, and its hyper-parameters.

    A recipe names them: `[[methods]]` with a `name` and hyper-parameters beside it, `weigher` and `step` likewise.
    """
    import dataclasses

    from training.catalogue import catalogue

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
    from training.distill.assembly import teacher_outputs
    from training.distill.metrics import measure

    with _errors(threads):
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
    from training.distill.recipe import read_recipe
    from training.distill.trainer import distil
    from training.distill.watchers import Bar, Board

    with _errors(threads):
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

    from training.distill.evaluation import outputs_of
    from training.distill.metrics import measure
    from training.distill.recipe import recipe_of
    from training.distill.result import RESULT, read_report
    from training.distill.tables import RecipeError
    from training.distill.trainer import STUDENT

    with _errors(threads):
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


def compare(
    results: Annotated[list[Path], typer.Argument(help="result.json files, folders of some, docs/results/*.json.")],
    metric: Annotated[str, typer.Option(help="accuracy, macro_f1, weighted_f1, ece, mae, ...")] = "accuracy",
    plot: Annotated[Path | None, typer.Option(help="SVG or PNG: metric against milliseconds and parameters.")] = None,
) -> None:
    """Compare runs: mean and deviation on test over seeds, parameters, CPU milliseconds, training time."""
    from training.distill.compare import read_rows, summarise
    from training.distill.plots import plot_cost

    with _errors(1):
        summaries = summarise(read_rows(results))
        if plot is not None:
            plot_cost(summaries, metric, plot)
    table = RichTable("task", "run", "runs", f"valid {metric}", f"test {metric}", "parameters", "CPU ms", "train s")
    for summary in summaries:
        table.add_row(
            summary.task,
            summary.title,
            str(len(summary.rows)),
            f"{summary.mean(metric, 'valid'):.2f}",
            f"{summary.mean(metric):.2f} ± {summary.deviation(metric):.2f}",
            f"{summary.parameters:,}",
            f"{summary.cpu_ms:.2f}",
            f"{summary.seconds:.0f}",
        )
    console.print(table)


def bench(
    suite: Annotated[str, typer.Argument(help="unimodal, bad_teacher, privileged, mosi, causal, missing or future.")],
    data: Data = None,
    cache: Annotated[Path, typer.Option(help="A folder a run; what is there is not run again.")] = Path("cache/bench"),
    out: Annotated[Path | None, typer.Option(help="Without: docs/results/SUITE.json.")] = None,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Only this task of the suite. Repeatable.")] = None,
    jobs: Annotated[int, typer.Option(help="Runs side by side, one thread each.")] = 2,
    scale: Annotated[float, typer.Option(help="Factor of all steps: the same for every run.")] = 1.0,
    minutes: Annotated[float, typer.Option(help="No run starts after so many; 0: no limit.")] = 0.0,
) -> None:
    """Run a suite of recipes with several seeds; weights are chosen on validation, the test split is touched once a
    run.

    Can be interrupted and started again. A run that fails is recorded with its error, and the suite goes on. `report`
    makes the tables of docs/results.md.
    """
    from training.distill.bench import Bench, Plan
    from training.distill.suites import SUITES
    from training.distill.tables import RecipeError, nearest

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with _errors(1):
        if suite not in SUITES:
            raise RecipeError(f"no suite {suite!r}; {nearest(suite, SUITES)}")
        path = out or SUITE_RESULTS / f"{suite}.json"
        plan = Plan(data_root(data), cache, path, tuple(tasks or ()), jobs, scale, minutes)
        Bench(SUITES[suite], plan).run()
    typer.echo(f"wrote {path}")


def report(
    results: Annotated[Path, typer.Option(help="Folder with the JSONs of suites.")] = SUITE_RESULTS,
    page: Annotated[Path, typer.Option(help="The page to write; its plots go into the folder of the JSONs.")] = PAGE,
    methods: Annotated[Path, typer.Option(help="The page about the methods.")] = METHODS_PAGE,
) -> None:
    """Render docs/results.md and its plots from the committed JSONs, and docs/methods.md from the docstrings."""
    from training.distill.report import write_page
    from training.methods_page import write_methods

    with _errors(1):
        write_page(results, page)
        write_methods(methods)
    typer.echo(f"wrote {page} and {methods}")


def _task(name: str, data: Path | None) -> "Task":
    from training.distill.tables import RecipeError, nearest
    from training.tasks import TASKS

    if name not in TASKS:
        raise RecipeError(f"task: {name!r} is unknown; {nearest(name, TASKS)}")
    return TASKS[name](data_root(data))


@contextmanager
def _errors(threads: int) -> Iterator[None]:
    """Turn the errors that a user can mend into one sentence and exit code 2."""
    import torch

    from training.distill.state import ResumeError
    from training.distill.tables import RecipeError
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
