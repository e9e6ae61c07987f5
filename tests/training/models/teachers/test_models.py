"""What all multimodal models promise: features, presence, and conversations that do not hear each other."""

import pytest
import torch

from contract.labels import MODALITIES
from tests.training.models.teachers.small import CONVERSATION, MODELS, VALUES, WIDTHS, inputs_of, scattered
from training.models.answer import ScoredHead
from training.models.teachers import BcLstm
from training.models.teachers.utterances import ordered


def total(output):
    """A number that depends on everything in an output, and differently on every entry."""
    parts = [output.logits, output.score.unsqueeze(1), *output.features.values()]
    flat = torch.cat([part.flatten(1) for part in parts], dim=1)
    return (flat * torch.linspace(0.5, 1.5, flat.numel()).view_as(flat)).sum() + flat.square().sum()


def assert_same(one, other, **tolerance):
    torch.testing.assert_close(one.logits, other.logits, **tolerance)
    torch.testing.assert_close(one.score, other.score, **tolerance)
    for feature, value in one.features.items():
        torch.testing.assert_close(value, other.features[feature], **tolerance)


@pytest.mark.parametrize("widths", [WIDTHS, {"text": 6, "audio": 5}], ids=["three", "two"])
def test_outputs_have_the_features_that_methods_look_for(name, widths):
    model, inputs = MODELS[name](widths), inputs_of(widths)
    output = model(inputs)
    count = len(CONVERSATION)
    assert output.logits.shape == (count, len(VALUES))
    assert output.score.shape == (count,)
    torch.testing.assert_close(output.score, output.logits.softmax(-1) @ torch.tensor(VALUES))
    assert torch.equal(output.present, inputs["present"])
    assert list(output.features)[-1] == "penultimate", "methods take the last feature by default"
    modalities = [modality for modality in MODALITIES if modality in widths]
    assert [feature for feature in output.features if feature in MODALITIES] == modalities
    for modality in modalities:
        assert output.features[f"{modality}.logits"].shape == (count, len(VALUES))
    for feature in output.features.values():
        assert feature.shape[0] == count
        assert feature.ndim == 2
        assert feature.any(), "not all zero when everything is present"


def test_one_modality_is_enough_for_all_but_mult(name):
    if name == "mult":
        with pytest.raises(ValueError, match="at least two modalities"):
            MODELS[name]({"text": 6})
        return
    output = MODELS[name]({"text": 6})(inputs_of({"text": 6}))
    assert "audio" not in output.features
    assert output.present.sum(0).tolist() == [0, 0, len(CONVERSATION)]


def test_gradients_reach_every_parameter_and_stay_finite_under_gaps(name):
    for present in (None, scattered()):
        torch.manual_seed(0)
        model = MODELS[name](WIDTHS)
        total(model(inputs_of(present=present))).backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.any(), key


def test_what_an_absent_modality_holds_reaches_neither_value_nor_gradient(model):
    present = scattered()
    inputs = inputs_of(present=present)
    expected = model(inputs)
    for column, modality in enumerate(MODALITIES):
        inputs[modality][present[:, column] == 0] = torch.nan
        inputs[modality].requires_grad_()
    output = model(inputs)
    assert_same(output, expected, atol=0, rtol=0)
    total(output).backward()
    for column, modality in enumerate(MODALITIES):
        assert inputs[modality].grad.isfinite().all()
        assert not inputs[modality].grad[present[:, column] == 0].any()
        assert inputs[modality].grad[present[:, column] == 1].any()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_features_of_an_absent_modality_are_zero(model):
    present = scattered()
    output = model(inputs_of(present=present))
    for column, modality in enumerate(MODALITIES):
        for feature in (key for key in output.features if key.partition(".")[0] == modality):
            assert not output.features[feature][present[:, column] == 0].any(), feature
            assert output.features[feature][present[:, column] == 1].any(), feature


@pytest.mark.parametrize("absent", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_a_modality_that_nobody_has_gives_finite_outputs(model, absent):
    present = torch.ones(len(CONVERSATION), 3)
    present[:, list(absent)] = 0
    output = model(inputs_of(present=present))
    assert output.logits.isfinite().all()
    assert all(feature.isfinite().all() for feature in output.features.values())


def test_every_present_modality_matters(model):
    inputs = inputs_of()
    expected = model(inputs)
    for modality in MODALITIES:
        changed = inputs | {modality: inputs[modality] + 1.0}
        assert (model(changed).logits - expected.logits).abs().max() > 1e-5, modality


def test_order_and_company_of_conversations_change_nothing(model):
    inputs = inputs_of(present=scattered())
    expected = model(inputs)
    # The same conversations in another order, under other numbers.
    order = torch.tensor([5, 6, 7, 0, 1, 2, 3, 4])
    moved = {key: value[order] for key, value in inputs.items()}
    moved["conversation"] = 10 - moved["conversation"]
    output = model(moved)
    back = order.argsort()
    for one, other in (
        (output.logits, expected.logits),
        *zip(output.features.values(), expected.features.values(), strict=True),
    ):
        torch.testing.assert_close(one[back], other, atol=1e-5, rtol=1e-5)
    for number in set(CONVERSATION):
        rows = inputs["conversation"] == number
        alone = model({key: value[rows] for key, value in inputs.items()})
        torch.testing.assert_close(alone.logits, expected.logits[rows], atol=1e-5, rtol=1e-5)
        for feature, value in alone.features.items():
            torch.testing.assert_close(value, expected.features[feature][rows], atol=1e-5, rtol=1e-5)


def test_utterances_hear_their_conversation_and_no_other(model):
    inputs = inputs_of()
    expected = model(inputs).logits
    changed = inputs | {"text": inputs["text"].clone()}
    changed["text"][0] += 3.0  # the first of conversation 3
    moved = (model(changed).logits - expected).abs().amax(1)
    assert (moved[:5] > 1e-6).all()
    assert not moved[5:].any()


def test_inputs_in_half_precision_are_read(model):
    inputs = inputs_of()
    halved = {
        key: value.half() if value.is_floating_point() and key != "present" else value for key, value in inputs.items()
    }
    torch.testing.assert_close(model(halved).logits, model(inputs).logits, atol=1e-2, rtol=1e-2)


def test_gradients_of_gradients_exist(name):
    """Outer steps differentiate through a step of the student."""
    torch.manual_seed(0)
    model = MODELS[name](WIDTHS)
    parameters = list(model.parameters())
    loss = total(model(inputs_of(present=scattered())))
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    sum(gradient.square().sum() for gradient in gradients).backward()
    assert all(parameter.grad.isfinite().all() for parameter in parameters if parameter.grad is not None)


def test_a_seed_gives_a_net(name):
    nets = []
    for _ in range(2):
        torch.manual_seed(5)
        nets.append(MODELS[name](WIDTHS).eval())
    assert_same(nets[0](inputs_of()), nets[1](inputs_of()), atol=0, rtol=0)


def test_the_head_can_be_another_one():
    model = BcLstm(WIDTHS, VALUES, width=8, head=ScoredHead).eval()
    output = model(inputs_of())
    expected = torch.tanh(model.answer.head.score(output.features["penultimate"])).squeeze(-1)
    torch.testing.assert_close(output.score, expected)


def test_widths_are_put_in_order_and_checked():
    assert list(ordered({"text": 6, "audio": 5})) == ["audio", "text"]
    for wrong in ({}, {"smell": 3}):
        with pytest.raises(ValueError, match="audio, video, text"):
            ordered(wrong)


def test_wrong_inputs_are_named():
    model = BcLstm({"text": 6}, VALUES, width=8)
    inputs = inputs_of({"text": 6})
    with pytest.raises(ValueError, match="lack 'conversation'"):
        model({key: value for key, value in inputs.items() if key != "conversation"})
    with pytest.raises(ValueError, match=r"'text' has shape \[8, 5\], the model reads \[B, 6\]"):
        model(inputs | {"text": inputs["text"][:, :5]})
