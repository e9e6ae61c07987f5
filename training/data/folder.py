"""Where the research data lies, and what is said when it does not."""

import os
from pathlib import Path
from typing import Final, Literal

Split = Literal["train", "valid", "test"]

DATA_VARIABLE: Final = "MOODSTREAM_DATA"


class DataMissingError(Exception):
    """A corpus, or the whole data folder, is not there."""


def data_root(given: Path | None = None) -> Path:
    """Return the data folder: `given`, else what MOODSTREAM_DATA names.

    Raises:
        DataMissingError: neither is set, or the folder does not exist.
    """
    named = given or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        raise DataMissingError(f"no data folder: give --data DIR or set {DATA_VARIABLE}")
    if not named.is_dir():
        raise DataMissingError(f"data folder {named} does not exist")
    return named


def corpus_file(root: Path, corpus: str, name: str) -> Path:
    """Return `root/corpus/name`; raises DataMissingError that says which corpus and which file is missing."""
    path = root / corpus / name
    if not path.exists():
        raise DataMissingError(f"corpus {corpus}: {path} does not exist")
    return path
