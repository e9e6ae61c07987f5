"""Writes a Triton model repository from exported students. It knows files, not how a student was made."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contract.config_pbtxt import LABEL_FILES, Profile, render_config
from contract.models import MODELS, ModelSpec
from training.data.tokenizer import tokenizer_sha256

VERSION: Final = "1"


def write_repository(
    out: Path, onnx: Mapping[str, bytes], tokenizer: Path, cards: Mapping[str, str], profile: Profile = "cpu"
) -> None:
    """Write every model of the contract under `out`.

    Args:
        out: the repository's folder; files of other versions in it stay.
        onnx: content of `model.onnx` by model name, for every model of the `onnxruntime` backend.
        tokenizer: the `tokenizer.json` whose hash goes into every configuration.
        cards: text of `model_card.md` by model name.
        profile: which configurations.
    """
    sha256 = tokenizer_sha256(tokenizer)
    content = tokenizer.read_bytes()
    for spec in MODELS.values():
        version = out / spec.name / VERSION
        version.mkdir(parents=True, exist_ok=True)
        (out / spec.name / "config.pbtxt").write_text(render_config(spec, sha256, profile))
        _write_labels(out / spec.name, spec)
        if spec.backend == "onnxruntime":
            (version / "model.onnx").write_bytes(onnx[spec.name])
        elif spec.backend == "python":
            (version / "tokenizer.json").write_bytes(content)
            shutil.copyfile(Path(__file__).with_name("tokenizer_backend.py"), version / "model.py")
        else:
            # An ensemble has no files, but Triton wants its version's folder, which git keeps only with a file in it.
            (version / ".gitkeep").touch()
        if spec.name in cards:
            (version / "model_card.md").write_text(cards[spec.name])


def read_onnx(repository: Path) -> dict[str, bytes]:
    """Return `model.onnx` by model name of an existing repository; raises FileNotFoundError."""
    names = [spec.name for spec in MODELS.values() if spec.backend == "onnxruntime"]
    return {name: (repository / name / VERSION / "model.onnx").read_bytes() for name in names}


def read_cards(repository: Path) -> dict[str, str]:
    """Return `model_card.md` by model name, where there is one."""
    paths = {name: repository / name / VERSION / "model_card.md" for name in MODELS}
    return {name: path.read_text() for name, path in paths.items() if path.is_file()}


def _write_labels(folder: Path, spec: ModelSpec) -> None:
    for tensor in spec.outputs:
        if tensor.name in LABEL_FILES:
            name, labels = LABEL_FILES[tensor.name]
            (folder / name).write_text("\n".join(labels) + "\n")
