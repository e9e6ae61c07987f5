"""Plots of results, as small SVG files whose bytes depend on the numbers alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.compare import Summary

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


_MANY = 7
"""Sources among which weights become too small for an axis up to 1."""

Point = tuple[float, float, float]
Level = tuple[float, str] | None


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


def plot_lines(
    lines: Mapping[str, Sequence[Point]], ticks: Mapping[float, str], labels: tuple[str, str], path: Path, level: Level
) -> None:
    """Draw lines of points with error bars.

    Args:
        lines: legend -> points (x, y, half the bar's length, which may be NaN).
        ticks: x -> what stands there.
        labels: of the axes.
        path: the SVG.
        level: y and legend of a dotted line, None for no such line.
    """

    def draw(figure: "Figure", axes: "Sequence[Axes]") -> None:
        ax = axes[0]
        for i, (name, points) in enumerate(lines.items()):
            x, y, bar = zip(*points, strict=True)
            bars = None if any(one != one for one in bar) else bar
            ax.errorbar(x, y, yerr=bars, marker="o", markersize=3, linewidth=1, capsize=2, label=name, **_look(i))
        if level is not None:
            ax.axhline(level[0], color="grey", linestyle=":", linewidth=0.8, label=level[1])
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.set(xlabel=labels[0], ylabel=labels[1])
        figure.legend(*ax.get_legend_handles_labels(), loc="outside right upper", frameon=False)

    _figure(path, draw, columns=1, width=7, height=max(3.4, 0.8 + 0.2 * len(lines)))


def plot_weights(courses: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw the mean weight of every teacher or edge by training step: one panel a title, one line a seed.

    `courses`: title -> runs, each `steps` and a list of the same length by teacher or edge.
    """

    def draw(figure: "Figure", axes: "Sequence[Axes]") -> None:
        sources = list(
            dict.fromkeys(name for runs in courses.values() for run in runs for name in run if name != "steps")
        )
        looks = {name: _look(i) for i, name in enumerate(sources)}
        for ax, (title, runs) in zip(axes, courses.items(), strict=True):
            for i, run in enumerate(runs):
                for name in (name for name in run if name != "steps"):
                    ax.plot(run["steps"], run[name], label=None if i else name, linewidth=1, **looks[name])
            ax.set(title=title, xlabel="step", ylim=(0, 1 if len(sources) < _MANY else None))
        axes[0].set_ylabel("mean weight")
        handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)

    _figure(path, draw, columns=len(courses), width=2 + 2.2 * len(courses), height=2.8)


def _look(place: int) -> dict[str, Any]:
    """Colour and dashes of the so-manieth line: ten colours, and then again with other dashes."""
    return {"color": f"C{place % 10}", "linestyle": ("-", "--", "-.", ":")[place // 10 % 4]}


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
