"""Compares what an engine serves with the contract, so that a repository that doesn't fit is refused at start."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from contract.models import MODELS, ModelSpec, TensorSpec, contract_parameters
from server.inference.engine import LoadedModel

_SHA256: Final = "tokenizer_sha256"


class RepositoryError(Exception):
    """The model repository does not fit this server. The message names the model and what was expected."""


def check_repository(served: Sequence[LoadedModel], required: Iterable[str] = MODELS) -> str:
    """Check every required model: present, ready, with the contract's tensors, batch size and parameters.

    Returns:
        The SHA-256 of the tokenizer that the models were trained with, which all of them name.

    Raises:
        RepositoryError: at the first difference.
    """
    by_name = {model.name: model for model in served}
    hashes = {}
    for name in required:
        if name not in by_name:
            raise RepositoryError(f"the repository has no model {name!r}, expected {', '.join(MODELS)}")
        hashes[name] = _check_model(by_name[name], MODELS[name])
    if len(set(hashes.values())) > 1:
        raise RepositoryError(f"the models were made for different tokenizers: {_SHA256} is {hashes}")
    return next(iter(hashes.values()))


def local_tokenizer(repository: Path | None, sha256: str) -> Path | None:
    """Return the repository's `tokenizer.json` with that hash; None where it is not at hand and the model is asked."""
    if repository is None:
        return None
    for path in sorted(repository.glob("tokenizer/*/tokenizer.json")):
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
    return None


def _check_model(model: LoadedModel, spec: ModelSpec) -> str:
    """Return the model's tokenizer hash."""
    if not model.ready:
        raise RepositoryError(f"model {spec.name!r} is not ready")
    _check_tensors(spec.name, "input", model.inputs, spec.inputs)
    _check_tensors(spec.name, "output", model.outputs, spec.outputs)
    if model.max_batch_size != spec.max_batch_size:
        raise RepositoryError(
            f"model {spec.name!r} has max_batch_size {model.max_batch_size}, expected {spec.max_batch_size}"
        )
    sha256 = model.parameters.get(_SHA256, "")
    if not sha256:
        raise RepositoryError(f"model {spec.name!r} does not say {_SHA256} in its parameters")
    for key, expected in contract_parameters(sha256).items():
        found = model.parameters.get(key)
        if found != expected:
            raise RepositoryError(f"model {spec.name!r} says {key} = {found!r}, expected {expected!r}")
    return sha256


def _check_tensors(model: str, direction: str, found: Sequence[TensorSpec], expected: Sequence[TensorSpec]) -> None:
    """Compare by name: the order of the tensors in a config means nothing."""
    by_name = {tensor.name: tensor for tensor in found}
    for tensor in expected:
        if tensor.name not in by_name:
            raise RepositoryError(f"model {model!r} has no {direction} {tensor.name}, expected {tensor}")
        if by_name[tensor.name] != tensor:
            raise RepositoryError(f"model {model!r} has the {direction} {by_name[tensor.name]}, expected {tensor}")
    extra = by_name.keys() - {tensor.name for tensor in expected}
    if direction == "input" and extra:
        raise RepositoryError(f"model {model!r} wants the inputs {sorted(extra)}, which the contract does not know")
