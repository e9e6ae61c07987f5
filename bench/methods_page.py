"""Renders docs/methods.md: every method, weigher and step with its paper, equation, options and remarks.

All of it comes from the catalogue and the docstrings of the modules. Pure: the same code gives the same page.
"""

import importlib
import inspect
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from training.distillation.catalogue import Entry, Parameter, catalogue

_HEAD: Final = """# Methods of distillation

Made by `python -m bench report` from the docstrings in [training/](../training); don't edit.

A recipe names methods, a weigher and steps ([distillation.md](distillation.md)): what is matched, how teachers are
weighted, and what is trained around the student. They combine freely. `needs` is what outputs and batches must carry.
"""
_FAMILIES: Final = {
    "A": "A. Response",
    "B": "B. Feature",
    "C": "C. Relation, over a batch",
    "D": "D. Many teachers: ensembles, weights, and steps that learn",
    "E": "E. Across modalities: graphs, hypergraphs, missing modalities, the future",
}
_KINDS: Final = {"method": "methods", "weigher": "weigher", "step": "step"}
"""Kind -> key of a recipe."""


def write_methods(page: Path) -> None:
    """Write the page."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render_methods())


def render_methods() -> str:
    """Return the page's text.

    Raises:
        ValueError: a hyper-parameter without a docstring, or a family that has no title; says which.
    """
    entries = catalogue()
    strange = [entry for entry in entries if entry.family not in _FAMILIES]
    if strange:
        raise ValueError(f"{strange[0].module}: family {strange[0].family!r} has no title in {__name__}")
    parts = [_HEAD, *_index(entries)]
    for family, own in groupby(entries, key=lambda entry: entry.family):
        parts.append(f"## {_FAMILIES[family]}\n")
        parts += [_section(entry) for entry in own]
    return "\n".join(parts)


def _index(entries: list[Entry]) -> Iterator[str]:
    yield "| family | name | key | what it does |\n|---|---|---|---|"
    for entry in entries:
        yield f"| {entry.family} | [`{entry.name}`](#{_anchor(entry)}) | `{_KINDS[entry.kind]}` | {entry.summary} |"
    yield ""


def _section(entry: Entry) -> str:
    needs = f" Needs {', '.join(entry.needs)}." if entry.needs else ""
    remarks = _remarks(entry.module)
    lines = [f"### {_title(entry)}\n", f"{entry.summary}{needs} In `{entry.module}`.\n"]
    if "\n    " not in remarks:
        lines.append(f"{entry.paper}.\n\n    {entry.equation}\n")
    lines.append(f"{remarks}\n")
    if entry.parameters:
        lines += ["| option | default | |", "|---|---|---|", *map(_row, entry.parameters), ""]
    return "\n".join(lines)


def _row(parameter: Parameter) -> str:
    default = f"`{parameter.default!r}`" if parameter.default not in ((), "", None) else "none"
    choices = f" ({parameter.type})" if "|" in parameter.type else ""
    return f"| `{parameter.name}` | {default} | {_cell(parameter.meaning + choices)} |"


def _remarks(module: str) -> str:
    """The module's docstring, as it is: its indented equations are code in Markdown as well."""
    return inspect.getdoc(importlib.import_module(module)) or ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _title(entry: Entry) -> str:
    """Names are unique within a kind only: `meta` is a weigher and a step."""
    return entry.name if entry.kind == "method" else f"{entry.name} ({entry.kind})"


def _anchor(entry: Entry) -> str:
    return _title(entry).replace(" ", "-").replace("(", "").replace(")", "")
