"""The word-piece tokenizer of the repository: how it is trained, found and hashed.

Lower case and no accents; the special tokens and their ids are the contract's. `contract.text.frame_pieces` frames the
pieces, so the file itself adds no special tokens and does not pad.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from contract.text import SPECIAL_TOKENS, frame_pieces
from training.models.served.text import VOCABULARY


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Return a WordPiece tokenizer with VOCABULARY pieces learned from `texts`."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=64))  # noqa: S106 (a token of text)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL_TOKENS), min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f"the texts give {tokenizer.get_vocab_size()} pieces, {VOCABULARY} are needed")
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Read `tokenizer.json`; raises FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer at {path}: run `python -m training tokenizer`")
    return Tokenizer.from_file(str(path))


def tokenizer_sha256(path: Path) -> str:
    """Return the hash that stands in every `config.pbtxt`."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return INPUT_IDS and ATTENTION_MASK, int64 [len(texts), 64]."""
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    framed = [frame_pieces(encoding.ids) for encoding in encodings]
    ids, masks = zip(*framed, strict=True)
    return torch.stack([torch.from_numpy(x) for x in ids]), torch.stack([torch.from_numpy(x) for x in masks])
