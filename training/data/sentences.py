"""The record that every text corpus is read into, and how sentences of different corpora are compared."""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from training.data.folder import DataMissingError


@dataclass(frozen=True)
class Sentence:
    """One text with the labels that its corpus gives; a label that it does not give is None."""

    text: str
    emotion: str | None = None
    """One of contract.labels.EMOTIONS."""
    sentiment: float | None = None
    """In [-1, 1]."""
    polarity: str | None = None
    """One of contract.labels.POLARITIES, where the corpus has classes and no scale."""


def read_rows(path: Path, columns: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file; raises DataMissingError when one of `columns` is not in its header."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise DataMissingError(f"{path} has no column {', '.join(sorted(missing))}")
        yield from reader


def detokenize(text: str) -> str:
    """Undo the Penn Treebank spacing of SST and MR: `it 's n't good .` -> `it's n't good.`, as people write."""
    text = text.replace("-lrb-", "(").replace("-rrb-", ")").replace("`` ", '"').replace(" ''", '"')
    text = re.sub(r" (n't|'s|'re|'ve|'ll|'d|'m)\b", r"\1", text)
    return re.sub(r" ([.,!?;:])", r"\1", text)


def comparison_key(text: str) -> str:
    """Return letters and digits only, without accents: equal for two spellings of the same sentence."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("-lrb-", "").replace("-rrb-", ""))
    return re.sub(r"[^a-z0-9]", "", plain)


class Overlap:
    """Finds sentences of a held-out set, also when spelled differently, cut, or extended to twice their length."""

    def __init__(self, held_out: Iterable[str]) -> None:
        self._shingles = {shingle for text in held_out for shingle in _shingles(comparison_key(text))}
        self._keys = {comparison_key(text) for text in held_out}

    def __contains__(self, text: str) -> bool:
        key = comparison_key(text)
        shingles = _shingles(key)
        shared = sum(shingle in self._shingles for shingle in shingles)
        return key in self._keys or (len(shingles) > 0 and shared >= 0.5 * len(shingles))


def _shingles(key: str, length: int = 12) -> set[str]:
    return {key[i : i + length] for i in range(0, len(key) - length + 1)}


def bare(text: str) -> str:
    """Return the words alone: letters, digits and apostrophes inside words."""
    return " ".join(re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", text))
