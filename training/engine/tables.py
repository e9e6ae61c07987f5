"""TOML tables become dataclasses: types are checked, what is unknown is refused with its place and the nearest name.

Knows nothing of training.
"""

import dataclasses
import itertools
import tomllib
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from training.names import nearest

Table = dict[str, Any]
T = TypeVar("T")


class RecipeError(ValueError):
    """A recipe that cannot be run as it stands; the message says where and what to change."""


def from_table(kind: type[T], table: Any, where: str = "") -> T:
    """Make the dataclass `kind` from a table; fields that are dataclasses themselves are made from inner tables.

    Raises:
        RecipeError: an unknown key, a missing one, a value of a wrong type, or one that `kind` refuses.
    """
    if not isinstance(table, Mapping):
        raise RecipeError(f"{where or 'recipe'}: expected a table, got {table!r}")
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise RecipeError(f"{join(where, key)}: unknown key; {nearest(key, fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in table:
            raise RecipeError(f"{join(where, name)}: missing")
    values = {key: _typed(hints[key], value, join(where, key)) for key, value in table.items()}
    try:
        return kind(**values)
    except RecipeError:
        raise
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{where or 'recipe'}: {error}") from error


def override(table: Table, settings: Sequence[str]) -> Table:
    """Return a copy of `table` with every `path.to.key=value` applied; numbers in a path index lists.

    A value is read as TOML, and as a string where it isn't TOML. An index one past the end appends a table.

    Raises:
        RecipeError: a setting without `=`, or a path that leads nowhere.
    """
    result: Table = _copied(table)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise RecipeError(f"{setting!r}: a setting is written path.to.key=value")
        _assign(result, path.split("."), _toml_value(text), path)
    return result


def join(where: str, key: str) -> str:
    """Return the path of a key."""
    return f"{where}.{key}" if where else key


def _typed(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as `hint`, or raise RecipeError."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _one_of(get_args(hint), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{where}: expected a list, got {value!r}")
        return tuple(_typed(get_args(hint)[0], item, join(where, str(i))) for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        read = getattr(hint, "read", None)
        return read(value, where) if read is not None else from_table(hint, value, where)
    if isinstance(hint, type):
        return _scalar(hint, value, where)
    return value


def _one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    return _typed(next(hint for hint in hints if hint is not type(None)), value, where)


def _scalar(kind: type[Any], value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = {float: "a number", int: "a whole number", str: "a string", bool: "true or false"}
        raise RecipeError(f"{where}: expected {names.get(kind, kind.__name__)}, got {value!r}")
    return value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(item) for item in value]
    return value


def _assign(table: Table, path: list[str], value: Any, whole: str) -> None:
    here: Any = table
    for step, following in itertools.pairwise(path):
        here = _child(here, step, [] if following.isdigit() else {}, whole)
    if isinstance(here, list):
        _child(here, path[-1], value, whole)
        here[int(path[-1])] = value
    elif isinstance(here, dict):
        here[path[-1]] = value
    else:
        raise RecipeError(f"{whole}: {path[-2]!r} is no table")


def _child(here: Any, step: str, empty: Any, whole: str) -> Any:
    """Return what `step` names below `here`, made as `empty` where there is nothing yet."""
    if isinstance(here, dict):
        return here.setdefault(step, empty)
    if not isinstance(here, list):
        raise RecipeError(f"{whole}: there is nothing below {step!r}")
    if not step.isdigit() or int(step) > len(here):
        raise RecipeError(f"{whole}: {step!r} is no index of a list of {len(here)}")
    if int(step) == len(here):
        here.append(empty)
    return here[int(step)]
