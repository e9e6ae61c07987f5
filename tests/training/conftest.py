"""The committed repository, the research data where it is there, and tiny corpora in its layout where it is not."""

import csv
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from contract.models import MODELS
from training.data.folder import DATA_VARIABLE
from training.data.tokenizer import load_tokenizer
from training.export.gpu_check import random_inputs
from training.export.onnx_files import cpu_session

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
WEIGHTS = Path(__file__).resolve().parents[2] / "cache/teachers"
Arrays = dict[str, NDArray[Any]]
Run = Callable[[str, Arrays], Arrays]

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def weights() -> Callable[[str], Path]:
    """Gives the folder of fetched weights when a teacher's are there, else skips the test."""

    def folder(name: str) -> Path:
        if not (WEIGHTS / name).is_dir():
            pytest.skip(f"teacher {name} is not fetched")
        return WEIGHTS

    return folder


@cache
def _session(name: str) -> ort.InferenceSession:
    return cpu_session(REPOSITORY / name / "1/model.onnx")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a committed model by name."""

    def infer(name: str, inputs: Arrays) -> Arrays:
        names = [tensor.name for tensor in MODELS[name].outputs]
        return dict(zip(names, _session(name).run(names, inputs), strict=True))

    return infer


@pytest.fixture(scope="session")
def inputs() -> Callable[[str, int], Arrays]:
    """Makes a random batch for a model by name."""
    return lambda name, batch: random_inputs(MODELS[name], batch)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return load_tokenizer(REPOSITORY / "tokenizer/1/tokenizer.json")


@pytest.fixture(scope="session")
def research_data() -> Path:
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        pytest.skip(f"{DATA_VARIABLE} is not set")
    return Path(folder)


SST = [
    ("sst_binary", "train", "1", "a stirring , funny film ."),
    ("sst_binary", "dev", "0", "it is n't a good idea , and it never was ."),
    ("sst_binary", "test", "1", "an utterly charming and hilarious film about nothing much at all ."),
    ("sst_fine", "train", "4", "a stirring , funny film ."),
    ("sst_fine", "train", "2", "it takes place in a house ."),
    ("sst_fine", "test", "3", "an utterly charming and hilarious film about nothing much at all ."),
    ("mr", "all", "1", "an utterly charming & hilarious film about nothing much at all"),
    (
        "mr",
        "all",
        "0",
        "it isn't a good idea , and it never was . really , what now ?",
    ),
    ("mr", "all", "0", "dull , dull , dull ."),
]
VADER = [
    (f"{rating}", text)
    for rating, text in zip(
        np.linspace(-4, 4, 40),
        [f"snippet number {i} about a {w}" for i, w in enumerate(["cat", "dog", "car", "day"] * 10)],
        strict=True,
    )
] + [("3.2", "An utterly charming and hilarious film, about nothing much at all")]


def write(path: Path, header: list[str], rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """Every corpus, a few items each."""
    write(tmp_path / "sst_mr/sentences.csv", ["dataset", "split", "label", "text"], SST)
    write(tmp_path / "vader_snippets/ratings.csv", ["mean_rating_-4_4", "text"], VADER)
    write(
        tmp_path / "meld_text/utterances.csv",
        ["split", "emotion", "sentiment", "text"],
        [
            ("train", "joy", "positive", "Great!"),
            ("dev", "anger", "negative", "No!"),
            ("test", "neutral", "neutral", "Ok."),
        ],
    )
    write(
        tmp_path / "tweeteval/tweets.csv",
        ["task", "split", "label_name", "text"],
        [
            ("emotion", "train", "optimism", "@you Keep going #hope https://x.y"),
            ("emotion", "val", "sadness", "so sad"),
            ("irony", "train", "irony", "of another task"),
        ],
    )
    write_ravdess(tmp_path)
    write_fer2013(tmp_path)
    return tmp_path


def write_ravdess(root: Path) -> None:
    rows = [("audio/a.flac", "train", "calm", "01"), ("audio/b.flac", "test", "fearful", "18")]
    write(root / "ravdess/manifest.csv", ["path", "split", "emotion", "speaker"], rows)
    (root / "ravdess/audio").mkdir()
    tone = (0.5 * np.sin(np.arange(20_000) / 10)).astype(np.float32)
    soundfile.write(root / "ravdess/audio/a.flac", tone, 16_000)
    soundfile.write(root / "ravdess/audio/b.flac", tone, 44_100)


def write_fer2013(root: Path) -> None:
    (root / "fer2013").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)
    images[4] = images[3]  # twice in train, with two labels
    classes = np.array(["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"])[::-1]
    parts = {"train": ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), "valid": ([0], [0]), "test": ([5, 1], [5, 1])}
    for name, (index, labels) in parts.items():
        np.savez(
            root / f"fer2013/{name}.npz", image=images[index], label=np.array(labels, dtype=np.uint8), classes=classes
        )
