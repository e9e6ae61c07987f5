"""Plots of results, as small PNG files.

Colours are Okabe and Ito's, which colour-blind readers tell apart, and lines differ in their markers and dashes too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # Without pyplot, which keeps global state.

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: Final = ("-", "--", "-.", ":")
_VERDICTS: Final = {"better": COLOURS[0], "worse": COLOURS[1], "": "#777777"}
_STYLE: Final[Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

Line = Sequence[tuple[float, float, float]]
"""Points (x, y, half the bar's length, which may be NaN)."""


@mpl.rc_context(_STYLE)
def plot_differences(tests: pd.DataFrame, path: Path, label: str) -> None:
    """Draw how entries differ from the control: a panel a task, a dot with its interval an entry.

    `tests`: `task`, `title`, `mean`, `low`, `high`, `verdict` (better, worse or nothing).
    """
    tasks, titles = list(dict.fromkeys(tests["task"])), list(dict.fromkeys(tests["title"]))
    height = 0.9 + 0.17 * len(titles)
    figure, axes = _figure(len(tasks), 2.2 + 1.7 * len(tasks), height, sharey=True)
    for ax, task in zip(axes, tasks, strict=True):
        own = tests[tests["task"] == task]
        ax.axvline(0, color="#777777", linewidth=0.8)
        reach = 1.15 * max(1.0, own["mean"].abs().max())  # Endless intervals are cut.
        for verdict, colour in _VERDICTS.items():
            rows = own[own["verdict"] == verdict]
            places = [len(titles) - 1 - titles.index(title) for title in rows["title"]]
            low, high = rows["low"].clip(-2 * reach, 2 * reach), rows["high"].clip(-2 * reach, 2 * reach)
            ax.hlines(places, low, high, color=colour, linewidth=1)
            ax.plot(rows["mean"], places, _MARKERS[list(_VERDICTS).index(verdict)], color=colour, markersize=3.5)
        ax.set_yticks(range(len(titles)), list(reversed(titles)))
        ax.set_title(task)
        ax.set_ylim(-0.7, len(titles) - 0.3)
    figure.supxlabel(label, fontsize=8)
    _save(figure, path)


@mpl.rc_context(_STYLE)
def plot_lines(
    panels: Mapping[str, Mapping[str, Line]], ticks: Mapping[float, str], x: str, y: str, path: Path
) -> None:
    """Draw lines of points with error bars: title of a panel -> legend -> points; `ticks`: x -> what stands there."""
    figure, axes = _figure(len(panels), 1.6 + 2.4 * len(panels), 2.8)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        for name, points in lines.items():
            i = names.index(name)
            across, up, bars = zip(*points, strict=True)
            look: dict[str, Any] = {"color": COLOURS[i % 8], "marker": _MARKERS[i % 8], "linestyle": _DASHES[i % 4]}
            yerr = None if any(bar != bar for bar in bars) else bars
            ax.errorbar(across, up, yerr=yerr, markersize=3.5, linewidth=1, capsize=2, label=name, **look)
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.set(title=title, xlabel=x)
    axes[0].set_ylabel(y)
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
    _save(figure, path)


@mpl.rc_context(_STYLE)
def plot_grid(table: pd.DataFrame, marked: pd.DataFrame, path: Path, label: str) -> None:
    """Draw a table of differences as colours with their numbers in them, entries by tasks.

    `marked`, of the same shape: which are in bold, as they are beyond chance.
    """
    figure, (ax,) = _figure(1, 2.2 + 0.75 * len(table.columns), 0.9 + 0.19 * len(table))
    reach = min(10.0, float(table.abs().max().max()))
    image = ax.pcolormesh(
        table.to_numpy(float), cmap="PuOr_r", vmin=-reach, vmax=reach, edgecolors="white", linewidth=1
    )
    for i, title in enumerate(table.index):
        for j, task in enumerate(table.columns):
            value = table.loc[title, task]
            if value == value:
                pale = abs(value) < 0.7 * reach
                weight = "bold" if marked.loc[title, task] else "normal"
                colour = "black" if pale else "white"
                ax.text(j + 0.5, i + 0.5, f"{value:+.1f}", ha="center", va="center", color=colour, weight=weight)
    ax.set_yticks([i + 0.5 for i in range(len(table))], list(table.index))
    ax.set_xticks([j + 0.5 for j in range(len(table.columns))], [name.replace("_", "\n") for name in table.columns])
    ax.invert_yaxis()
    ax.tick_params(length=0)
    figure.colorbar(image, ax=ax, label=label, shrink=0.6)
    _save(figure, path)


def _figure(columns: int, width: float, height: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False, sharey=sharey)[0])


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
