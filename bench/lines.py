"""Lines of Python by package, before and after: counted by git in commits, generated stubs left out."""

import subprocess
from collections import Counter
from pathlib import Path

_PACKAGES = ("contract", "server", "client", "loadtest", "training", "bench", "tests")


def lines_of(repository: Path, commit: str = "") -> Counter[str]:
    """Return package -> lines of its tracked `.py` files, in a commit, or as they lie there.

    Raises:
        subprocess.CalledProcessError: no repository, or no such commit.
    """
    command = ["git", "grep", "--count", "-I", "", *([commit] if commit else []), "--", "*.py", ":!*_pb2*.py"]
    found = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True)  # noqa: S603
    counted: Counter[str] = Counter()
    for line in found.stdout.splitlines():
        path, _, count = line.removeprefix(f"{commit}:").rpartition(":")
        package = path.partition("/")[0]
        if package in _PACKAGES:
            counted[package] += int(count)
    return counted


def table(before: Counter[str], after: Counter[str]) -> list[tuple[str, int, int]]:
    """Return (package, before, after) rows, `training + bench` among them, and the sum of the source."""
    rows = [(name, before[name], after[name]) for name in _PACKAGES]
    for title, names in (("training + bench", ("training", "bench")), ("source", _PACKAGES[:-1])):
        rows.append((title, sum(before[name] for name in names), sum(after[name] for name in names)))
    return rows
