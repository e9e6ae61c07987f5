from pathlib import Path

import pytest

import training.export.repository
from contract.labels import EMOTIONS
from contract.models import MODELS
from training.export.repository import read_cards, read_onnx, write_repository

BACKEND = Path(training.export.repository.__file__).with_name("tokenizer_backend.py")


def test_the_committed_tokenizer_model_is_the_one_of_the_package(repository):
    assert (repository / "tokenizer/1/model.py").read_text() == BACKEND.read_text()


def test_writes_every_model_of_the_contract(tmp_path, repository):
    onnx = {spec.name: b"graph of " + spec.name.encode() for spec in MODELS.values() if spec.backend == "onnxruntime"}
    write_repository(tmp_path, onnx, repository / "tokenizer/1/tokenizer.json", {"fusion": "a card"})
    assert {path.name for path in tmp_path.iterdir()} == set(MODELS)
    assert read_onnx(tmp_path) == onnx
    assert read_cards(tmp_path) == {"fusion": "a card"}
    assert (tmp_path / "moodstream/1").is_dir()
    assert (tmp_path / "audio_encoder/emotions.txt").read_text().split() == list(EMOTIONS)


def test_an_incomplete_repository_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"audio_encoder/1/model\.onnx"):
        read_onnx(tmp_path)


def test_the_repository_stays_small(repository):
    files = [path for path in Path(repository).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    assert not [path for path in files if path.suffix == ".data"]
    assert not [path for path in files if path.is_symlink()]
