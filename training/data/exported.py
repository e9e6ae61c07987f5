"""Where a model repository has which version of a model. Knows files, not what is in them."""

from pathlib import Path


def versions(repository: Path, model: str) -> list[int]:
    """Return the versions of a model, ascending; none where it isn't there."""
    folder = repository / model
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdigit())


def model_file(repository: Path, model: str, name: str = "model.onnx") -> Path:
    """Return a file of the newest version of a model; raises FileNotFoundError that says what is missing."""
    found = versions(repository, model)
    path = repository / model / str(found[-1] if found else 1) / name
    if not path.is_file():
        raise FileNotFoundError(f"{repository} has no {model}: {path} does not exist")
    return path
