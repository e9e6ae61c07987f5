"""Teachers' outputs on disk, so that a second run computes nothing.

A file is named by the hash of everything that its content depends on: the teacher's weights, how it was made, and the
samples. The recipe stands beside it in JSON, for people. Knows no teacher.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from training.data.folder import Split
from training.distillation.outputs import Output

SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
Recipe = Mapping[str, object]
"""What the outputs depend on: plain values that JSON can hold."""


@dataclass(frozen=True)
class OutputCache:
    """A folder of teachers' outputs."""

    folder: Path

    def get(self, name: str, recipe: Recipe, split: Split, compute: Callable[[], Mapping[Split, Output]]) -> Output:
        """Return the outputs of one split; when they are not there, compute those of all splits and keep them."""
        if not self.path(name, recipe, split).is_file():
            outputs = compute()
            for part in SPLITS:
                self._write(self.path(name, recipe, part), outputs[part])
            _replace(self.path(name, recipe, "train").with_suffix(".json"), _text(recipe).encode())
        return self._read(self.path(name, recipe, split))

    def path(self, name: str, recipe: Recipe, split: Split) -> Path:
        """Return where the outputs lie."""
        safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
        return self.folder / f"{safe}-{recipe_hash(recipe)}-{split}.pt"

    def _write(self, path: Path, output: Output) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        torch.save(_as_dict(output), temporary)
        temporary.replace(path)

    def _read(self, path: Path) -> Output:
        stored: dict[str, Any] = torch.load(path, weights_only=True, mmap=True)
        return Output(**stored)


def recipe_hash(recipe: Recipe) -> str:
    """Return the first 16 digits of the SHA-256 of a recipe."""
    return hashlib.sha256(_text(recipe).encode()).hexdigest()[:16]


@cache
def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content; read once in a process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's files, in the order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = "\n".join(f"{path.relative_to(folder)} {file_sha256(path)}" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def tensor_sha256(*tensors: Tensor) -> str:
    """Return the SHA-256 of tensors' values, types and shapes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _as_dict(output: Output) -> dict[str, Any]:
    """Sequences and maps in half precision, vectors and the rest as they are."""
    return {
        "logits": output.logits,
        "score": output.score,
        "variance": output.variance,
        "features": {
            name: (feature.half() if feature.ndim > 2 else feature).contiguous()
            for name, feature in output.features.items()
        },
        "masks": {name: mask.contiguous() for name, mask in output.masks.items()},
        "present": output.present,
    }


def _text(recipe: Recipe) -> str:
    return json.dumps(recipe, indent=1, sort_keys=True) + "\n"


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
