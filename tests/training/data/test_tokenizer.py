"""The committed tokenizer, and the Triton model that runs it, against the contract."""

import hashlib
import importlib.util
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from contract.config_pbtxt import render_config
from contract.models import TOKENIZER
from contract.text import SPECIAL_TOKENS, TEXT_PIECES, frame_pieces
from training.data.tokenizer import encode_texts, load_tokenizer, tokenizer_sha256, train_tokenizer
from training.models.served.text import VOCABULARY

TEXTS = ["", "I love this!", "this is terrible", "  ", "Déjà-vu, isn't it?", "\U0001f600 ok", "word " * 200]


class Response:
    def __init__(self, output_tensors=(), error=None):
        self.outputs, self.error = {tensor.name: tensor.value for tensor in output_tensors}, error


@pytest.fixture
def backend(repository, monkeypatch):
    """`model.py` as Triton imports it; of Triton's own module only the three names that it uses are stood in for."""
    utils = ModuleType("triton_python_backend_utils")
    utils.Tensor = lambda name, value: SimpleNamespace(name=name, value=value, as_numpy=lambda: value)
    utils.InferenceResponse = Response
    utils.TritonError = str
    utils.get_input_tensor_by_name = lambda request, name: request[name]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("served_tokenizer", repository / "tokenizer/1/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    outputs = [{"name": t.name, "dims": [str(size) for size in t.shape]} for t in TOKENIZER.outputs]
    model.initialize({"model_config": json.dumps({"output": outputs})})
    return model, utils


def ask(backend, *batches):
    model, utils = backend
    arrays = [np.array(batch, dtype=object).reshape(-1, 1) for batch in batches]
    return model.execute([{"TEXT": utils.Tensor("TEXT", array)} for array in arrays])


def test_special_tokens_have_the_contracts_ids(tokenizer):
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert tokenizer.get_vocab_size() == VOCABULARY


def test_lower_case_and_accents(tokenizer):
    assert (
        tokenizer.encode("DÉJÀ", add_special_tokens=False).ids == tokenizer.encode("deja", add_special_tokens=False).ids
    )


def test_the_served_model_frames_as_the_contract_does(backend, tokenizer):
    (response,) = ask(backend, [text.encode() for text in TEXTS])
    for row, text in enumerate(TEXTS):
        ids, mask = frame_pieces(tokenizer.encode(text, add_special_tokens=False).ids)
        np.testing.assert_array_equal(response.outputs["INPUT_IDS"][row], ids)
        np.testing.assert_array_equal(response.outputs["ATTENTION_MASK"][row], mask)
        np.testing.assert_array_equal(response.outputs["TEXT_MASK"][row], mask.astype(np.float32))
    assert {k: (v.dtype, v.shape[1:]) for k, v in response.outputs.items()} == {
        t.name: (np.dtype({"INT64": "int64", "FP32": "float32"}[t.dtype]), t.shape) for t in TOKENIZER.outputs
    }


def test_empty_text_is_all_zeros_and_long_text_keeps_its_end(backend, tokenizer):
    long = " ".join(f"word{i}" for i in range(100))
    (response,) = ask(backend, [b"", long.encode()])
    assert not any(value[0].any() for value in response.outputs.values())
    pieces = tokenizer.encode(long, add_special_tokens=False).ids
    assert response.outputs["INPUT_IDS"][1, 1:-1].tolist() == pieces[-TEXT_PIECES:]


def test_invalid_utf8_fails_alone(backend):
    bad, good = ask(backend, [b"\xff\xfe"], [b"fine"])
    assert "UTF-8" in bad.error
    assert good.error is None


def test_training_frames_the_same_way(tokenizer):
    ids, mask = encode_texts(tokenizer, TEXTS)
    for row, text in enumerate(TEXTS):
        expected = frame_pieces(tokenizer.encode(text, add_special_tokens=False).ids)
        np.testing.assert_array_equal(ids[row].numpy(), expected[0])
        np.testing.assert_array_equal(mask[row].numpy(), expected[1])


def test_the_hash_is_in_the_configuration(repository):
    path = repository / "tokenizer/1/tokenizer.json"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert tokenizer_sha256(path) == sha256
    assert sha256 in render_config(TOKENIZER, sha256)


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match=f"{VOCABULARY} are needed"):
        train_tokenizer(["so few words"] * 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m training tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")
