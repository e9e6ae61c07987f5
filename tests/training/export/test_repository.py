from pathlib import Path

import training.export
from training.data.exported import model_file

BACKEND = Path(training.export.__file__).with_name("tokenizer_backend.py")


def test_the_committed_tokenizer_model_is_the_one_of_the_package(repository):
    assert model_file(repository, "tokenizer", "model.py").read_text() == BACKEND.read_text()


def test_the_repository_stays_small(repository):
    files = [path for path in Path(repository).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    assert not [path for path in files if path.suffix == ".data"]
    assert not [path for path in files if path.is_symlink()]
