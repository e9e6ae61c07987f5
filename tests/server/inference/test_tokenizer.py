from pathlib import Path

import numpy as np

from contract.text import BEGIN_ID, END_ID, TEXT_TOKENS
from server.inference.tokenizer import Tokenizer


def test_texts_are_framed_and_padded(repository: Path) -> None:
    tokens = Tokenizer(next(repository.glob("tokenizer/*/tokenizer.json"))).encode(["I love it", "", "word " * 100])
    ids, mask = tokens["INPUT_IDS"], tokens["ATTENTION_MASK"]
    assert ids.shape == mask.shape == (3, TEXT_TOKENS)
    assert (ids.dtype, mask.dtype, tokens["TEXT_MASK"].dtype) == (np.int64, np.int64, np.float32)
    used = int(mask[0].sum())
    assert ids[0, 0] == BEGIN_ID
    assert ids[0, used - 1] == END_ID
    assert not ids[0, used:].any()
    assert not mask[1].any()
    assert not ids[1].any()
    assert mask[2].all()
    assert ids[2, -1] == END_ID


def test_case_does_not_matter(repository: Path) -> None:
    tokenizer = Tokenizer(next(repository.glob("tokenizer/*/tokenizer.json")))
    ids = tokenizer.encode(["What a DAY", "what a day"])["INPUT_IDS"]
    np.testing.assert_array_equal(ids[0], ids[1])
