import dataclasses
import hashlib
from pathlib import Path

import pytest

from contract.models import MODELS, TensorSpec, contract_parameters
from server.inference.engine import LoadedModel
from server.inference.onnx_engine import OnnxEngine
from server.inference.repository import RepositoryError, check_repository, local_tokenizer
from server.inference.triton_engine import TritonEngine

SHA = "a" * 64
FITTING = {
    name: LoadedModel(name, ("1",), True, spec.inputs, spec.outputs, spec.max_batch_size, contract_parameters(SHA))
    for name, spec in MODELS.items()
}


def served(name: str, **changes: object) -> list[LoadedModel]:
    """The contract's models, one of them changed."""
    return [*({**FITTING, name: dataclasses.replace(FITTING[name], **changes)}).values()]


def test_what_fits_gives_the_tokenizer_hash() -> None:
    assert check_repository(list(FITTING.values())) == SHA


def test_the_order_of_tensors_means_nothing() -> None:
    check_repository(served("fusion", inputs=FITTING["fusion"].inputs[::-1]))


def test_a_model_that_is_not_required_may_be_missing() -> None:
    models = [model for model in FITTING.values() if model.name != "moodstream"]
    check_repository(models, [model.name for model in models])
    with pytest.raises(RepositoryError, match="no model 'moodstream'"):
        check_repository(models)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ready": False}, "model 'video_encoder' is not ready"),
        (
            {"inputs": (TensorSpec("IMAGE", "UINT8", (64, 64, 3)),)},
            r"'video_encoder' has no input FACE, expected FACE UINT8 \[64, 64, 3\]",
        ),
        (
            {"inputs": (TensorSpec("FACE", "FP32", (64, 64, 3)),)},
            r"has the input FACE FP32 \[64, 64, 3\], expected FACE UINT8 \[64, 64, 3\]",
        ),
        (
            {"inputs": (*FITTING["video_encoder"].inputs, TensorSpec("MASK", "FP32", (1,)))},
            r"wants the inputs \['MASK'\], which the contract does not know",
        ),
        (
            {"outputs": FITTING["video_encoder"].outputs[1:]},
            r"has no output EMBEDDING, expected EMBEDDING FP32 \[128\]",
        ),
        ({"max_batch_size": 8}, "has max_batch_size 8, expected 64"),
        ({"parameters": {}}, "does not say tokenizer_sha256"),
        (
            {"parameters": {**contract_parameters(SHA), "emotions": "happy sad"}},
            "'video_encoder' says emotions = 'happy sad', expected 'angry disgust",
        ),
        ({"parameters": contract_parameters("b" * 64)}, "made for different tokenizers"),
    ],
)
def test_what_differs_is_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(RepositoryError, match=sentence):
        check_repository(served("video_encoder", **changes))


async def test_the_real_repository_fits_in_both_engines(triton_engine: TritonEngine, onnx_engine: OnnxEngine) -> None:
    sha256 = check_repository(await triton_engine.models())
    in_process = await onnx_engine.models()
    assert check_repository(in_process, [model.name for model in in_process]) == sha256


def test_the_local_tokenizer_must_have_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer" / "2" / "tokenizer.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert local_tokenizer(tmp_path, hashlib.sha256(b"{}").hexdigest()) == path
    assert local_tokenizer(tmp_path, SHA) is None
    assert local_tokenizer(tmp_path / "nowhere", SHA) is None
    assert local_tokenizer(None, SHA) is None
