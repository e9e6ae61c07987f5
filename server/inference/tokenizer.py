"""Tokenizes in process with the repository's `tokenizer.json`, exactly as its `tokenizer` model does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from contract.text import frame_pieces


class Tokenizer:
    """The word pieces of the repository's tokenizer, framed as the contract says."""

    def __init__(self, path: Path) -> None:
        """Read `tokenizer.json`; raises what `tokenizers` raises for a broken file."""
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))

    def encode(self, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return INPUT_IDS and ATTENTION_MASK (int64 [N, 64]) and TEXT_MASK (float32 [N, 64]) of the texts."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        framed = [frame_pieces(encoding.ids) for encoding in encodings]
        mask = np.stack([mask for _, mask in framed])
        return {
            "INPUT_IDS": np.stack([ids for ids, _ in framed]),
            "ATTENTION_MASK": mask,
            "TEXT_MASK": mask.astype(np.float32),
        }
