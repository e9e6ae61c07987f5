"""Stanford Sentiment Treebank (sentences; Socher et al. 2013) and MR (Pang & Lee 2005).

MR contains most of SST's sentences, so that training on MR as it is means training on SST's test set: `load_mr` leaves
out every sentence of SST's dev and test splits, whatever its spacing and spelling.
"""

from pathlib import Path
from typing import Final

from training.data.folder import Split, corpus_file
from training.data.sentences import Overlap, Sentence, detokenize, read_rows

_SPLITS: Final[dict[Split, str]] = {"train": "train", "valid": "dev", "test": "test"}
_BINARY: Final = {"0": "negative", "1": "positive"}


def load_sst2(root: Path, split: Split) -> list[Sentence]:
    """Return the sentences of SST-2 (the neutral ones left out) with their polarity."""
    return [
        Sentence(detokenize(row["text"]), polarity=_BINARY[row["label"]])
        for row in _rows(root)
        if row["dataset"] == "sst_binary" and row["split"] == _SPLITS[split]
    ]


def load_sst5(root: Path, split: Split) -> list[Sentence]:
    """Return the sentences of SST-5 with a sentiment of -1, -0.5, 0, 0.5 or 1."""
    return [
        Sentence(detokenize(row["text"]), sentiment=int(row["label"]) / 2 - 1)
        for row in _rows(root)
        if row["dataset"] == "sst_fine" and row["split"] == _SPLITS[split]
    ]


def load_mr(root: Path) -> list[Sentence]:
    """Return MR without the sentences of SST's dev and test splits. MR has no splits: all of it is for training."""
    overlap = held_out(root)
    return [
        Sentence(detokenize(row["text"]), polarity=_BINARY[row["label"]])
        for row in _rows(root)
        if row["dataset"] == "mr" and row["text"] not in overlap
    ]


def held_out(root: Path) -> Overlap:
    """Return what knows the dev and test sentences of SST."""
    return Overlap([row["text"] for row in _rows(root) if row["dataset"] != "mr" and row["split"] != "train"])


def _rows(root: Path) -> list[dict[str, str]]:
    return list(read_rows(corpus_file(root, "sst_mr", "sentences.csv"), ("dataset", "split", "label", "text")))
