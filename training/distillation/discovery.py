"""Finds the methods and weighers of a package: a new one is a new file there, and nothing else."""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

Part = TypeVar("Part")


def parts_of(package: str, path: Iterable[str], base: type[Part]) -> dict[str, type[Part]]:
    """Return name -> class of the subclasses of `base` that the package's modules define, by family and name.

    Classes without a `name` of their own are what others are built on, and left out.

    Raises:
        ValueError: two of them have the same name; says where they are.
    """
    found: dict[str, Any] = {}
    for module in iter_modules(path):
        for cls in vars(import_module(f"{package}.{module.name}")).values():
            if not (isinstance(cls, type) and issubclass(cls, base) and "name" in vars(cls)):
                continue
            if found.setdefault(name := vars(cls)["name"], cls) is not cls:
                raise ValueError(f"{name!r} is the name of two: in {found[name].__module__} and in {cls.__module__}")
    return dict(sorted(found.items(), key=lambda item: (item[1].family, item[0])))
