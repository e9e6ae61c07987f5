"""The cores as the served `fusion` model: exported by the real exporter, run by ONNX Runtime."""

import itertools
import warnings
from functools import cache

import numpy as np
import pytest
import torch

from contract.models import FUSION
from training.gpu_check import random_inputs
from training.models.fusion import Fusion
from training.models.multimodal import BottleneckFusion, GatedFusion, ServedFusion
from training.onnx_files import cpu_session, load_weights, reference_outputs, to_onnx

NAMES = [tensor.name for tensor in FUSION.outputs]


@cache
def exported(kind):
    torch.manual_seed(0)
    model = ServedFusion(kind)
    model.temperature.copy_(torch.tensor([0.7, 1.3]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        content = to_onnx(model, FUSION, random_inputs(FUSION, 3))
    return model.eval(), content, cpu_session(content)


@pytest.fixture(params=[GatedFusion, BottleneckFusion])
def served(request):
    return exported(request.param)


def run(session, batch):
    return dict(zip(NAMES, session.run(NAMES, batch), strict=True))


def expected(model, batch):
    return reference_outputs(model, FUSION, tuple(torch.from_numpy(batch[tensor.name]) for tensor in FUSION.inputs))


def test_the_file_has_the_signature_of_the_contract(served):
    _, _, session = served
    assert [(i.name, i.shape[1:]) for i in session.get_inputs()] == [(t.name, list(t.shape)) for t in FUSION.inputs]
    assert [o.name for o in session.get_outputs()] == NAMES


@pytest.mark.parametrize("present", list(itertools.product((0, 1), repeat=3)))
def test_every_subset_equals_pytorch(served, present):
    model, _, session = served
    batch = random_inputs(FUSION, 5)
    for name, there in zip(("AUDIO", "VIDEO", "TEXT"), present, strict=True):
        batch[f"{name}_MASK"] *= there
    outputs = run(session, batch)
    for name, value in expected(model, batch).items():
        assert outputs[name].shape == value.shape
        np.testing.assert_allclose(outputs[name], value, atol=1e-4, err_msg=name)
    assert not outputs["CONTRIBUTION"][:, [not there for there in present]].any()
    np.testing.assert_allclose(outputs["CONTRIBUTION"].sum(1), float(any(present)), atol=1e-6)
    assert np.abs(outputs["SENTIMENT"]).max() <= 1
    for name in ("POLARITY", "EMOTION"):
        np.testing.assert_allclose(outputs[name].sum(1), 1, atol=1e-5)


def test_an_item_alone_equals_the_item_in_any_batch(served):
    *_, session = served
    batch = random_inputs(FUSION, 16)
    together = run(session, batch)
    for size, at in ((1, 0), (1, 5), (3, 6), (7, 9)):
        for name, value in run(session, {key: value[at : at + size] for key, value in batch.items()}).items():
            np.testing.assert_allclose(value, together[name][at : at + size], atol=1e-5, err_msg=name)


def test_what_a_masked_slot_holds_does_not_matter(served):
    model, _, session = served
    batch = random_inputs(FUSION, 4)
    batch["AUDIO_MASK"][1] = 0
    before = run(session, batch)
    for name in ("AUDIO", "VIDEO", "TEXT"):
        batch[name][batch[f"{name}_MASK"] == 0] = np.nan
    for name, value in run(session, batch).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    fused = model.fuse(
        tuple(torch.from_numpy(batch[name]) for name in ("AUDIO", "VIDEO", "TEXT")),
        tuple(torch.from_numpy(batch[f"{name}_MASK"]) for name in ("AUDIO", "VIDEO", "TEXT")),
    )
    gradients = torch.autograd.grad(sum(part.square().sum() for part in fused), list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_weights_are_read_back_from_the_file(served, tmp_path):
    model, content, _ = served
    (tmp_path / "model.onnx").write_bytes(content)
    torch.manual_seed(1)
    again = ServedFusion(type(model.core)).eval()
    load_weights(again, tmp_path / "model.onnx")
    batch = random_inputs(FUSION, 3)
    for name, value in expected(again, batch).items():
        np.testing.assert_array_equal(value, expected(model, batch)[name], err_msg=name)


def test_it_is_smaller_than_the_fusion_that_is_served_now(served):
    count = [sum(parameter.numel() for parameter in model.parameters()) for model in (served[0], Fusion())]
    assert count[0] < count[1]
