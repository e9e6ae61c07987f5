"""From checkpoints to a model repository: export, parity on real inputs, then files."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from contract.config_pbtxt import Profile
from contract.models import MODELS
from training.checkpoints import load_student
from training.data.tokenizer import load_tokenizer
from training.export.examples import example_inputs
from training.export.onnx_files import to_onnx
from training.export.repository import read_cards, read_onnx, write_repository
from training.models import STUDENTS, AudioEncoder, Fusion, TextEncoder, VideoEncoder, Window


def export_students(
    runs: Path, data: Path, tokenizer: Path, out: Path, cards: Mapping[str, str], profile: Profile
) -> None:
    """Export the students whose checkpoints are under `runs`. Nothing is written unless all of them pass parity.

    Raises:
        CheckpointMissingError, DataMissingError, FileNotFoundError: something to read is not there.
        ParityError: a graph computes something else than its PyTorch model.
    """
    window = compose(runs)
    examples = example_inputs(data, load_tokenizer(tokenizer), window)
    modules = {**dict(window.named_children()), "window": window}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        onnx = {name: to_onnx(module, MODELS[name], examples[name]) for name, module in modules.items()}
    write_repository(out, onnx, tokenizer, cards, profile)


def rewrite_configs(repository: Path, tokenizer: Path, out: Path, profile: Profile) -> None:
    """Write the models of an existing repository under `out` with the configurations of `profile`."""
    write_repository(out, read_onnx(repository), tokenizer, read_cards(repository), profile)


def compose(runs: Path) -> Window:
    """Return the trained students as one window model, in evaluation mode."""
    window = Window(AudioEncoder(), VideoEncoder(), TextEncoder(), Fusion())
    for name in STUDENTS:
        load_student(window.get_submodule(name), runs / name)
    torch.set_grad_enabled(False)
    return window.eval()
