"""The command line of `bench`: suites of runs, comparisons of them, and the pages made from their results."""

import logging
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table as RichTable

from training.cli import Data, clear_errors
from training.data.folder import data_root

RESULTS: Final = Path("docs/results")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Runs suites of distillation and writes the pages about them. The data folder is --data, or MOODSTREAM_DATA.",
)
console = Console()


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(help="Folders of runs of `distill`, or their result.json files.")],
    metric: Annotated[str, typer.Option(help="accuracy, macro_f1, weighted_f1, ece, mae, ...")] = "accuracy",
) -> None:
    """Compare runs: mean and deviation on test over seeds, parameters, CPU milliseconds, training time."""
    from bench.compare import compared

    with clear_errors(1):
        rows = compared(results, metric)
    table = RichTable("task", "run", "runs", f"valid {metric}", f"test {metric}", "parameters", "CPU ms", "train s")
    for row in rows:
        table.add_row(*row)
    console.print(table)


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="One of bench/suites/, or a TOML file of your own.")],
    data: Data = None,
    cache: Annotated[Path, typer.Option(help="A folder a run; what is there is not run again.")] = Path("cache/bench"),
    out: Annotated[Path, typer.Option(help="Folder of the tables.")] = RESULTS,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Only this task of the suite. Repeatable.")] = None,
    workers: Annotated[int, typer.Option(help="Runs side by side, one thread each.")] = 2,
    scale: Annotated[float, typer.Option(help="Factor of all steps: the same for every run.")] = 1.0,
    minutes: Annotated[float, typer.Option(help="No run starts after so many; 0: no limit.")] = 0.0,
) -> None:
    """Run a suite of recipes with several seeds; options and weights are chosen on validation, the test split is
    touched once a run.

    Can be interrupted and started again. A run that fails is recorded with its error, and the suite goes on. `report`
    makes the pages.
    """
    from bench.runs import Bench, Plan
    from bench.suite import FOLDER, read_suite, suites
    from training.engine.tables import RecipeError
    from training.names import nearest

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with clear_errors(1):
        path = Path(suite) if suite.endswith(".toml") else FOLDER / f"{suite}.toml"
        if not path.is_file():
            raise RecipeError(f"no suite {suite!r}; {nearest(suite, suites())}")
        plan = Plan(data_root(data), cache, out, tuple(tasks or ()), workers, scale, minutes)
        Bench(read_suite(path), plan).run()
    typer.echo(f"wrote {out / path.stem}.csv")


@app.command()
def report(
    results: Annotated[Path, typer.Option(help="Folder with the tables of suites.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Folder of the pages.")] = Path("docs"),
    suite: Annotated[list[Path] | None, typer.Option(help="A suite's file of your own. Repeatable.")] = None,
) -> None:
    """Render the pages of results with their plots from the tables, and docs/methods.md from the docstrings."""
    from bench.methods_page import write_methods
    from bench.report import write_pages
    from bench.suite import read_suite, suites

    with clear_errors(1):
        known = {path.stem: read_suite(path) for path in suite} if suite else suites()
        for path in write_pages(results, docs, known):
            typer.echo(f"wrote {path}")
        write_methods(docs / "methods.md")


@app.command()
def lines(
    before: Annotated[str, typer.Option(help="Commit to compare with.")] = "5d9ee81",
    repository: Annotated[Path, typer.Option(help="A checkout.")] = Path(),
) -> None:
    """Count lines of Python by package: in a commit, and now."""
    from bench.lines import lines_of
    from bench.lines import table as rows_of

    table = RichTable("package", before, "now")
    for name, earlier, now in rows_of(lines_of(repository, before), lines_of(repository)):
        table.add_row(name, f"{earlier:,}", f"{now:,}")
    console.print(table)
