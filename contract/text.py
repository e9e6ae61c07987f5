"""How text becomes tokens: which pieces of an utterance a window sees, and their padding."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

TEXT_TOKENS: Final = 64
"""Length of INPUT_IDS, with the begin and end tokens."""
TEXT_PIECES: Final = TEXT_TOKENS - 2
"""Word pieces that fit: of a longer text the last ones are kept, as the newest words say most."""
PAD_ID: Final = 0
UNK_ID: Final = 1
BEGIN_ID: Final = 2
END_ID: Final = 3
SPECIAL_TOKENS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""Special tokens of the repository's tokenizer, in the order of their ids."""


def frame_pieces(pieces: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return INPUT_IDS [64] and ATTENTION_MASK [64] for the word pieces of one text, special tokens not included.

    No pieces give all padding and an empty mask: an absent text is masked, not a sentence of two special tokens.
    """
    ids = np.full(TEXT_TOKENS, PAD_ID, dtype=np.int64)
    mask = np.zeros(TEXT_TOKENS, dtype=np.int64)
    if pieces:
        framed = [BEGIN_ID, *pieces[-TEXT_PIECES:], END_ID]
        ids[: len(framed)] = framed
        mask[: len(framed)] = 1
    return ids, mask
