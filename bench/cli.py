"""The command line of `bench`: suites of runs, comparisons of them, and the pages made from their results."""

import logging
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table as RichTable

from training.commands import Data, clear_errors
from training.data.folder import data_root

SUITE_RESULTS: Final = Path("docs/results")
PAGE: Final = Path("docs/results.md")
METHODS_PAGE: Final = Path("docs/methods.md")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Runs suites of distillation and writes the pages about them. The data folder is --data, or MOODSTREAM_DATA.",
)
console = Console()


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(help="result.json files, folders of some, docs/results/*.json.")],
    metric: Annotated[str, typer.Option(help="accuracy, macro_f1, weighted_f1, ece, mae, ...")] = "accuracy",
    plot: Annotated[Path | None, typer.Option(help="SVG or PNG: metric against milliseconds and parameters.")] = None,
) -> None:
    """Compare runs: mean and deviation on test over seeds, parameters, CPU milliseconds, training time."""
    from bench.compare import read_rows, summarise
    from bench.plots import plot_cost

    with clear_errors(1):
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


@app.command()
def run(
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
    from bench.runs import Bench, Plan
    from bench.suites import SUITES
    from training.engine.tables import RecipeError
    from training.names import nearest

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with clear_errors(1):
        if suite not in SUITES:
            raise RecipeError(f"no suite {suite!r}; {nearest(suite, SUITES)}")
        path = out or SUITE_RESULTS / f"{suite}.json"
        plan = Plan(data_root(data), cache, path, tuple(tasks or ()), jobs, scale, minutes)
        Bench(SUITES[suite], plan).run()
    typer.echo(f"wrote {path}")


@app.command()
def report(
    results: Annotated[Path, typer.Option(help="Folder with the JSONs of suites.")] = SUITE_RESULTS,
    page: Annotated[Path, typer.Option(help="The page to write; its plots go into the folder of the JSONs.")] = PAGE,
    methods: Annotated[Path, typer.Option(help="The page about the methods.")] = METHODS_PAGE,
) -> None:
    """Render docs/results.md and its plots from the committed JSONs, and docs/methods.md from the docstrings."""
    from bench.report import write_page
    from bench.report.methods_page import write_methods

    with clear_errors(1):
        write_page(results, page)
        write_methods(methods)
    typer.echo(f"wrote {page} and {methods}")


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
