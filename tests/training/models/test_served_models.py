"""What the exported files promise: the contract's signature, batch invariance, causality, masks. In ONNX Runtime."""

import itertools

import numpy as np
import pytest

from contract.models import FUSION, MODELS
from contract.text import BEGIN_ID, END_ID
from contract.timing import AUDIO_SLOT_SAMPLES, AUDIO_SLOTS_PER_HOP, CHUNK_SAMPLES, CONTEXT_SAMPLES
from training.export.onnx_files import MAX_IR_VERSION, OPSET

ONNX_MODELS = [spec.name for spec in MODELS.values() if spec.backend == "onnxruntime"]


@pytest.mark.parametrize("name", ONNX_MODELS)
def test_the_file_has_the_signature_of_the_contract(name, run, inputs, repository):
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(repository / name / "1/model.onnx")
    assert proto.ir_version <= MAX_IR_VERSION
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]
    assert [i.name for i in proto.graph.input] == [t.name for t in MODELS[name].inputs]
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    for batch in (1, 3):
        outputs = run(name, inputs(name, batch))
        assert {k: v.shape for k, v in outputs.items()} == {t.name: (batch, *t.shape) for t in MODELS[name].outputs}
        assert all(np.isfinite(v).all() and v.dtype == np.float32 for v in outputs.values())


@pytest.mark.parametrize("name", ONNX_MODELS)
def test_probabilities_and_sentiment_are_in_range(name, run, inputs):
    outputs = run(name, inputs(name, 8))
    assert np.abs(outputs["SENTIMENT"]).max() <= 1
    for probabilities in {"EMOTION", "POLARITY", "CONTRIBUTION"} & outputs.keys():
        assert outputs[probabilities].min() >= 0
        np.testing.assert_allclose(outputs[probabilities].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ONNX_MODELS)
def test_an_item_alone_equals_the_item_in_any_batch(name, run, inputs):
    batch = inputs(name, min(16, MODELS[name].max_batch_size))
    together = run(name, batch)
    for size, at in ((1, 0), (1, 5), (3, 6), (7, 9)):
        part = run(name, {key: value[at : at + size] for key, value in batch.items()})
        for key, value in part.items():
            np.testing.assert_allclose(value, together[key][at : at + size], atol=1e-5, err_msg=key)


@pytest.mark.parametrize("slot", range(AUDIO_SLOTS_PER_HOP))
def test_no_audio_slot_hears_what_comes_after_it(slot, run, inputs):
    pcm = inputs("audio_encoder", 2)["PCM"]
    end = CONTEXT_SAMPLES + (slot + 1) * AUDIO_SLOT_SAMPLES
    other_future, other_past = pcm.copy(), pcm.copy()
    other_future[:, end:] = 0.9
    other_past[:, end - 80 : end] += 0.5  # the analysis window weighs the very last samples next to nothing
    heard = run("audio_encoder", {"PCM": pcm})["EMBEDDING"]
    np.testing.assert_array_equal(
        run("audio_encoder", {"PCM": other_future})["EMBEDDING"][:, : slot + 1], heard[:, : slot + 1]
    )
    changed = run("audio_encoder", {"PCM": other_past})["EMBEDDING"]
    assert np.abs(changed[:, slot] - heard[:, slot]).max() > 1e-4, "the last samples of a slot must be heard"
    np.testing.assert_array_equal(changed[:, :slot], heard[:, :slot])


def test_audio_hears_its_whole_context(run, inputs):
    pcm = inputs("audio_encoder", 1)["PCM"]
    assert pcm.shape[1] == CHUNK_SAMPLES
    other = pcm.copy()
    other[:, : CONTEXT_SAMPLES // 4] *= 3
    first = run("audio_encoder", {"PCM": pcm})["EMBEDDING"]
    assert np.abs(run("audio_encoder", {"PCM": other})["EMBEDDING"] - first).max() > 1e-4


def test_padding_of_a_text_does_not_matter(run, tokenizer):
    ids = np.zeros((1, 64), dtype=np.int64)
    pieces = [BEGIN_ID, *tokenizer.encode("i love this", add_special_tokens=False).ids, END_ID]
    ids[0, : len(pieces)] = pieces
    mask = (np.arange(64) < len(pieces)).astype(np.int64)[None]
    garbage = ids.copy()
    garbage[0, len(pieces) :] = 4321
    a, b = (run("text_encoder", {"INPUT_IDS": i, "ATTENTION_MASK": mask}) for i in (ids, garbage))
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
    assert not a["EMBEDDING"][0, len(pieces) :].any()


def test_an_empty_text_is_finite(run):
    zeros = np.zeros((2, 64), dtype=np.int64)
    outputs = run("text_encoder", {"INPUT_IDS": zeros, "ATTENTION_MASK": zeros})
    assert all(np.isfinite(value).all() for value in outputs.values())


@pytest.mark.parametrize("present", list(itertools.product((0, 1), repeat=3)))
def test_fusion_under_every_subset(present, run, inputs):
    batch = inputs("fusion", 4)
    for name, there in zip(("AUDIO", "VIDEO", "TEXT"), present, strict=True):
        batch[f"{name}_MASK"] *= there
    outputs = run("fusion", batch)
    assert all(np.isfinite(value).all() for value in outputs.values())
    assert not outputs["CONTRIBUTION"][:, [not there for there in present]].any()
    np.testing.assert_allclose(outputs["CONTRIBUTION"].sum(axis=1), float(any(present)), atol=1e-6)


@pytest.mark.parametrize("content", [0.0, 1e4, np.nan])
def test_what_a_masked_slot_holds_does_not_matter_to_fusion(content, run, inputs):
    batch = inputs("fusion", 4)
    batch["AUDIO_MASK"][1] = 0
    expected = run("fusion", batch)
    for name in ("AUDIO", "VIDEO", "TEXT"):
        batch[name][batch[f"{name}_MASK"] == 0] = content
    for key, value in run("fusion", batch).items():
        np.testing.assert_array_equal(value, expected[key])


def test_every_modality_reaches_the_answer(run, inputs):
    batch = inputs("fusion", 4)
    expected = run("fusion", batch)
    for name in ("AUDIO", "VIDEO", "TEXT"):
        noise = np.random.default_rng(0).standard_normal(batch[name].shape, dtype=np.float32)
        other = batch | {name: batch[name] + noise}
        assert np.abs(run("fusion", other)["EMOTION"] - expected["EMOTION"]).max() > 1e-5, name
    assert {t.name for t in FUSION.outputs} == expected.keys()
