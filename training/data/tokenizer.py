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

from contract.models import EMBEDDING_DIM
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


def teacher_embeddings(tokenizer: Tokenizer, teacher: Tokenizer, table: Tensor) -> Tensor:
    """Return [VOCABULARY, D] for our pieces: the mean of the teacher's pieces for the same letters, then PCA.

    Args:
        tokenizer: ours.
        teacher: the teacher's, word pieces as well.
        table: the teacher's embeddings [V, E].
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    mean = torch.zeros(len(vocabulary), table.shape[1])
    for piece, index in vocabulary.items():
        mean[index] = table[_teacher_pieces(piece, teacher)].mean(dim=0)
    centred = mean - mean.mean(dim=0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    reduced = centred @ axes[:EMBEDDING_DIM].T
    scaled: Tensor = reduced / reduced.std() * 0.1
    return scaled


def _teacher_pieces(piece: str, teacher: Tokenizer) -> Sequence[int]:
    known: int | None = teacher.token_to_id(piece)
    if known is not None:
        return [known]
    spelled: list[int] = teacher.encode(piece.removeprefix("##"), add_special_tokens=False).ids
    return spelled
