"""The catalogue of everything that distils: what `python -m training methods` lists.

All of it is read from the classes: metadata from their attributes, hyper-parameters from their Config and the
docstrings under its fields. Nothing is written twice, and nothing here knows a method by name.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from training.distillation.methods import METHODS
from training.distillation.steps import STEPS
from training.distillation.weighers import WEIGHERS

Kind = Literal["method", "weigher", "step"]
"""What is matched, how teachers are weighted, or a training step around the student's own."""


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter."""

    name: str
    type: str
    """`float`, or the choices of a literal, `nce | infonce`."""
    default: Any
    meaning: str


@dataclass(frozen=True)
class Entry:
    """A method, a weigher or a step. `dataclasses.asdict` of it is fit for JSON."""

    kind: Kind
    family: str
    name: str
    summary: str
    """What it does, in a sentence."""
    paper: str
    equation: str
    needs: tuple[str, ...]
    """What outputs and batches must carry, sorted."""
    parameters: tuple[Parameter, ...]
    module: str
    """Import path; its docstring has the symbols, and where the authors' code differs from their text."""


def catalogue() -> list[Entry]:
    """Return all entries, by family and then in the order of the registries."""
    kinds: tuple[tuple[Kind, Mapping[str, Any]], ...] = (("method", METHODS), ("weigher", WEIGHERS), ("step", STEPS))
    entries = [_entry(kind, name, cls) for kind, registry in kinds for name, cls in registry.items()]
    return sorted(entries, key=lambda entry: entry.family)


def parameters_of(config: type[Any]) -> tuple[Parameter, ...]:
    """Return the hyper-parameters of a Config.

    Raises:
        ValueError: a field has no default or no docstring; names it.
    """
    hints, meanings = get_type_hints(config), field_docstrings(config)
    for field in fields(config):
        if field.name not in meanings:
            raise ValueError(f"{config.__name__}.{field.name} has no docstring under it")
    return tuple(
        Parameter(field.name, spell(hints[field.name]), _default(config, field), meanings[field.name])
        for field in fields(config)
    )


def field_docstrings(config: type[Any]) -> dict[str, str]:
    """Return the docstrings under the fields of a class and its bases, each on one line.

    Python does not keep them, so they are read from the source.
    """
    found: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        found |= dict(_docstrings_in(textwrap.dedent(inspect.getsource(base))))
    return found


def spell(hint: Any) -> str:
    """Return a type as a reader of a recipe would write it."""
    if hint is type(None):
        return "none"
    if get_origin(hint) in (Literal, Union, UnionType):
        return " | ".join(part if isinstance(part, str) else spell(part) for part in get_args(hint))
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")


def _entry(kind: Kind, name: str, cls: type[Any]) -> Entry:
    return Entry(
        kind=kind,
        family=cls.family,
        name=name,
        summary=(inspect.getdoc(cls) or "").partition("\n")[0],
        paper=cls.paper,
        equation=cls.equation,
        needs=tuple(sorted(cls.needs)),
        parameters=parameters_of(cls.Config),
        module=cls.__module__,
    )


def _docstrings_in(source: str) -> Iterator[tuple[str, str]]:
    """Yield (field, docstring) of the first class in the source."""
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for statement, after in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            yield statement.target.id, " ".join(after.value.value.split())


def _default(config: type[Any], field: "Field[Any]") -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    raise ValueError(f"{config.__name__}.{field.name} has no default; give it one that works")
