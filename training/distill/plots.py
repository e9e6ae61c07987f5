"""Plots of results, as small SVG files whose bytes depend on the numbers alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.distill.compare import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: Any = {
    "svg.hashsalt": "moodstream",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def plot_cost(summaries: Sequence[Summary], metric: str, path: Path) -> None:
    """Draw the metric against CPU milliseconds, and against parameters, one point a run's title with its deviation."""

    def draw(figure: "Figure", axes: "Sequence[Axes]") -> None:
        costs: tuple[tuple[str, Callable[[Summary], float]], ...] = (
            ("CPU ms a sample, one thread", lambda summary: summary.cpu_ms),
            ("parameters", lambda summary: float(summary.parameters)),
        )
        for ax, (name, cost) in zip(axes, costs, strict=True):
            for summary in summaries:
                label = f"{summary.title} ({summary.task})"
                _dot(ax, cost(summary), summary.mean(metric), summary.deviation(metric), label)
            ax.set(xlabel=name, xscale="log", ylabel=f"test {metric}")
        if len(summaries) <= 12:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=7)

    _figure(path, draw, columns=2, width=9, height=3.6)


def plot_methods(summaries: Sequence[Summary], control: str, teacher: float, metric: str, path: Path) -> None:
    """Draw every run's title with mean and deviation of the metric; lines mark the control and the best teacher."""

    def draw(_: "Figure", axes: "Sequence[Axes]") -> None:
        ax = axes[0]
        ordered = sorted(summaries, key=lambda summary: summary.mean(metric))
        for place, summary in enumerate(ordered):
            values = summary.values(metric)
            colour = "C1" if summary.title == control else "C0"
            ax.plot(values, [place] * len(values), "|", color=colour, markersize=8, alpha=0.6)
            ax.plot(summary.mean(metric), place, "o", color=colour, markersize=5)
        controls = [summary.mean(metric) for summary in summaries if summary.title == control]
        if controls:
            ax.axvline(controls[0], color="C1", linewidth=0.8, label=control)
        if teacher == teacher:
            ax.axvline(teacher, color="grey", linestyle=":", linewidth=0.8, label="best single teacher")
        ax.set_yticks(range(len(ordered)), [summary.title for summary in ordered])
        ax.set_xlabel(f"test {metric}: mean (dot), seeds (bars)")
        ax.legend(frameon=False, loc="lower right")

    _figure(path, draw, columns=1, width=6.5, height=1 + 0.19 * len(summaries))


def plot_weights(courses: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw the mean weight of every teacher by training step: one panel a title, one line a seed.

    `courses`: title -> runs, each `steps` and a list of the same length by teacher.
    """

    def draw(figure: "Figure", axes: "Sequence[Axes]") -> None:
        teachers = list(
            dict.fromkeys(name for runs in courses.values() for run in runs for name in run if name != "steps")
        )
        colours = {name: f"C{i}" for i, name in enumerate(teachers)}
        for ax, (title, runs) in zip(axes, courses.items(), strict=True):
            for i, run in enumerate(runs):
                for name in (name for name in run if name != "steps"):
                    ax.plot(run["steps"], run[name], color=colours[name], label=None if i else name, linewidth=1)
            ax.set(title=title, xlabel="step", ylim=(0, 1))
        axes[0].set_ylabel("mean weight")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)

    _figure(path, draw, columns=len(courses), width=2 + 2.2 * len(courses), height=2.8)


def _dot(ax: "Axes", x: float, y: float, deviation: float, label: str) -> None:
    ax.errorbar(x, y, yerr=None if deviation != deviation else deviation, fmt="o", markersize=4, label=label)


def _figure(
    path: Path, draw: "Callable[[Figure, Sequence[Axes]], None]", columns: int, width: float, height: float
) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # Without pyplot, which keeps global state.

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False, sharey=columns > 2)[0]
        draw(figure, list(axes))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
