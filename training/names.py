"""Choosing by name: registries that other packages add to, and errors that name the nearest.

A registry is one literal dict of ours and the entry points of a group. An installed package adds to it in its
`pyproject.toml`, and whatever lists or chooses names shows its own:

    [project.entry-points."moodstream.methods"]
    cosine = "my_package.cosine:Cosine"
"""

import difflib
from collections.abc import Iterable, Iterator, MutableMapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

T = TypeVar("T")


class Registry(MutableMapping[str, T]):
    """Names of one kind. Entry points are listed when first asked for, and imported when chosen."""

    def __init__(self, kind: str, group: str, own: dict[str, T]) -> None:
        """Keep what is ours.

        Args:
            kind: what messages call one of them: "method".
            group: of the entry points, "moodstream.methods".
            own: by name, in the order in which they are listed.
        """
        self.kind, self.group, self._own = kind, group, own

    def __getitem__(self, name: str) -> T:
        """Return the object of a name, imported where a package brings it.

        Raises:
            KeyError: nobody has it.
            ValueError: the package that has it can't be imported; says which and why.
        """
        if name in self._own:
            return self._own[name]
        entry = self._found[name]
        try:
            found: T = entry.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{self.kind} {name!r} of the package {_package(entry)}: {error}") from error
        return self._own.setdefault(name, found)

    def __setitem__(self, name: str, value: T) -> None:
        self._own[name] = value

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from [name for name in self._found if name not in self._own]

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._found

    def named(self, name: str) -> T:
        """Return the object of a name; raises ValueError that names the nearest."""
        check_name(self.kind, name, self)
        return self[name]

    @cached_property
    def _found(self) -> dict[str, EntryPoint]:
        """Entry points by name; raises ValueError where a package takes a name that is taken."""
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            if entry.name in self._own or entry.name in found:
                raise ValueError(f"the package {_package(entry)} brings a {self.kind} {entry.name!r}, a name in use")
            found[entry.name] = entry
        return found


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest known name, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names) or 'none'}"


def check_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
    """Raise ValueError unless `name` is one of `known`; says the nearest, else all of them, and then the hint."""
    names = list(known)
    if name not in names:
        raise ValueError(f"no {kind} {name!r}: {nearest(name, names)}{hint}")


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
