"""Choosing by name, with an error that names the nearest one."""

import difflib
from collections.abc import Iterable


def check_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
    """Raise ValueError unless `name` is one of `known`; says the nearest, else all of them."""
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    raise ValueError(f"no {kind} {name!r}: {advice}{hint}")
