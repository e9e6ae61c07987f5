import json

import pytest
import torch

from training.distillation.outputs import Output
from training.teachers.cache import OutputCache, folder_sha256, recipe_hash, tensor_sha256


def outputs(shift: float = 0.0) -> dict[str, Output]:
    return {
        split: Output(
            logits=torch.full((count, 2), shift),
            score=torch.zeros(count),
            features={"h1": torch.ones(count, 3, 4), "penultimate": torch.full((count, 4), 1e6)},
            masks={"h1": torch.ones(count, 3)},
        )
        for split, count in (("train", 5), ("valid", 2), ("test", 3))
    }


def test_a_second_call_computes_nothing(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return outputs()

    for _ in range(2):
        for split, count in (("train", 5), ("valid", 2), ("test", 3)):
            output = OutputCache(tmp_path).get("teacher", {"weights": "a"}, split, compute)
            assert output.logits.shape == (count, 2)
    assert len(calls) == 1


@pytest.mark.parametrize("recipe", [{"weights": "b"}, {"weights": "a", "epochs": 2}, {"weights": "a", "samples": "x"}])
def test_whatever_changes_is_computed_anew(tmp_path, recipe):
    store = OutputCache(tmp_path)
    store.get("teacher", {"weights": "a"}, "train", outputs)
    other = store.get("teacher", recipe, "train", lambda: outputs(1.0))
    assert other.logits.unique().tolist() == [1.0]
    assert store.get("teacher", {"weights": "a"}, "train", outputs).logits.unique().tolist() == [0.0]


def test_sequences_are_halved_and_vectors_are_not(tmp_path):
    output = OutputCache(tmp_path).get("teacher", {}, "valid", outputs)
    assert output.features["h1"].dtype == torch.float16
    assert output.features["penultimate"].dtype == torch.float32
    assert output.features["penultimate"].unique().tolist() == [1e6]
    assert output.score.tolist() == [0, 0]
    assert output.masks["h1"].shape == (2, 3)


def test_what_was_computed_is_written_for_people(tmp_path):
    OutputCache(tmp_path).get("hf:some/encoder", {"weights": "a"}, "train", outputs)
    (text,) = tmp_path.glob("*.json")
    assert json.loads(text.read_text()) == {"weights": "a"}
    assert text.name.startswith("hf_some_encoder-")
    assert not list(tmp_path.glob("*.tmp"))


def test_an_interrupted_computation_leaves_nothing(tmp_path):
    def compute():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        OutputCache(tmp_path).get("teacher", {}, "train", compute)
    assert not list(tmp_path.iterdir())


def test_hashes_follow_content_alone(tmp_path):
    assert recipe_hash({"a": 1, "b": 2}) == recipe_hash({"b": 2, "a": 1}) != recipe_hash({"a": 1, "b": 3})
    one = torch.arange(6)
    assert tensor_sha256(one) == tensor_sha256(one.clone()) != tensor_sha256(one.view(2, 3))
    assert tensor_sha256(one) != tensor_sha256(one.float())
    for name, text in (("x", "1"), ("y", "1"), ("z", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(text)
    same, copy, other = (folder_sha256(tmp_path / name) for name in "xyz")
    assert same == copy != other
