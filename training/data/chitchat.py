"""The Chitchat dataset (PyPI `chitchat-dataset`, MIT): everyday conversations in writing, without labels of feeling.

For distillation alone: a teacher says what it thinks of them.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from training.data.folder import DataMissingError
from training.data.sentences import comparison_key

FILE: Final = "dataset.json"
WORDS: Final = (3, 30)
"""An utterance has so many words, at least and at most."""


def load_chitchat(folder: Path, most: int | None = None, seed: int = 0) -> list[str]:
    """Return utterances of `folder`'s dataset.json, each once, in an order that the seed decides.

    Args:
        folder: where the package's data lies.
        most: so many, the first in that order; all, if None.
        seed: of the order.

    Raises:
        DataMissingError: the file is not there, or not of the form that the package gives it.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataMissingError(f"{path} does not exist: fetch the package chitchat-dataset")
    conversations: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    texts: dict[str, str] = {}
    for name, conversation in conversations.items():
        try:
            said = [message["text"] for turn in conversation["messages"] for message in turn]
        except (KeyError, TypeError) as error:
            raise DataMissingError(f"{path}, conversation {name}: no messages with text ({error!r})") from None
        for text in said:
            plain = " ".join(text.split())
            if WORDS[0] <= len(plain.split()) <= WORDS[1]:
                texts.setdefault(comparison_key(plain), plain)
    ordered = [text for key, text in texts.items() if key]
    order = np.random.default_rng(seed).permutation(len(ordered))[:most]
    return [ordered[i] for i in order]
