"""Tiny corpora of a few dozen samples, in the layout of the real ones."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
WORDS = {"1": ("fine", "lovely", "great", "warm"), "0": ("dull", "poor", "awful", "cold")}
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def tone(emotion: int, actor: int) -> np.ndarray:
    """Half a second of silence, a voice whose pitch is its emotion, and silence."""
    t = np.arange(16_000) / 16_000
    voice = 0.3 * np.sin(2 * np.pi * (200 + 150 * emotion + 5 * actor) * t) * (1 + np.sin(2 * np.pi * 3 * t))
    return np.concatenate([np.zeros(8_000), voice, np.zeros(4_000)]).astype(np.float32)


def write_ravdess(root: Path) -> None:
    rows, names, units = [], [], []
    (root / "ravdess/audio").mkdir(parents=True)
    for split, actors in {"train": range(1, 6), "valid": (16,), "test": (18,)}.items():
        for actor in actors:
            for number, emotion in enumerate(EMOTIONS):
                name = f"01-{number + 1:02}-01-01-01-{actor:02}"
                soundfile.write(root / f"ravdess/audio/03-{name}.flac", tone(number, actor), 16_000)
                rows.append([f"audio/03-{name}.flac", split, emotion, f"{actor:02}"])
                names.append(f"01-{name}")
                units.append(np.eye(35)[number] + 0.01 * actor)
    write_csv(root / "ravdess/manifest.csv", ["path", "split", "emotion", "speaker"], rows)
    np.savez(root / "ravdess/action_units.npz", clip=np.array(names), au=np.array(units, dtype=np.float32))


def write_fer2013(root: Path) -> None:
    (root / "fer2013").mkdir()
    rng = np.random.default_rng(0)
    for split, count in {"train": 210, "valid": 14, "test": 14}.items():
        labels = (np.arange(count) % 7).astype(np.uint8)
        images = (rng.integers(0, 60, (count, 48, 48)) + 25 * labels[:, None, None]).astype(np.uint8)
        images[:, :, :24] //= 2
        np.savez(root / f"fer2013/{split}.npz", image=images, label=labels, classes=np.array(CLASSES))


def write_sst(root: Path) -> None:
    rng, rows = np.random.default_rng(0), []
    for split, count in {"train": 60, "dev": 12, "test": 12}.items():
        for i in range(count):
            label = str(i % 2)
            text = f"the {split} film number {i} is {' and '.join(rng.choice(WORDS[label], 2))} ."
            rows.append(["sst_binary", split, label, text])
            rows.append(["sst_fine", split, str(i % 5), text])
    rows.append(["mr", "all", "1", "a sentence of another corpus"])
    write_csv(root / "sst_mr/sentences.csv", ["dataset", "split", "label", "text"], rows)


@pytest.fixture(autouse=True)
def one_thread():
    """Nets as small as these get slower from a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A data folder."""
    root = tmp_path_factory.mktemp("data")
    write_ravdess(root)
    write_fer2013(root)
    write_sst(root)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A cache folder that all tests share."""
    return tmp_path_factory.mktemp("cache")
