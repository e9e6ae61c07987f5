"""How far conversation students look ahead."""

import pytest
import torch

from tests.training.models.teachers.small import VALUES, WIDTHS, inputs_of
from training.models.students.multimodal import ConversationStudent, LookaheadConvolution, ahead
from training.models.teachers import BottleneckFusion, GatedFusion

CONVERSATION = (2,) * 9 + (5,) * 6
CORES = pytest.mark.parametrize("core", [GatedFusion, BottleneckFusion])
LOOKAHEADS = pytest.mark.parametrize("lookahead", [0, 1, 2, 4])


def student(core, lookahead):
    torch.manual_seed(0)
    model = ConversationStudent(core, WIDTHS, VALUES, lookahead=lookahead).eval()
    for parameter in model.ahead.parameters():
        torch.nn.init.normal_(parameter)
    return model


def world():
    present = (torch.rand(len(CONVERSATION), 3, generator=torch.Generator().manual_seed(2)) < 0.8).float()
    return inputs_of(present=present, conversation=CONVERSATION)


def changed_after(inputs, row, value):
    """Other inputs, and another presence, in all utterances of the first conversation after `row`."""
    changed = {key: tensor.clone() for key, tensor in inputs.items()}
    for name in WIDTHS:
        changed[name][row + 1 : 9] = value
    changed["present"][row + 1 : 9] = 1.0
    return changed


@CORES
@LOOKAHEADS
@pytest.mark.parametrize("value", [100.0, torch.nan])
def test_nothing_after_the_lookahead_changes_a_bit(core, lookahead, value):
    model, inputs = student(core, lookahead), world()
    expected = model(inputs)
    for row in range(9):
        output = model(changed_after(inputs, row + lookahead, value))
        rows = [*range(row + 1), *range(9, 15)]
        assert torch.equal(output.logits[rows], expected.logits[rows])
        assert torch.equal(output.score[rows], expected.score[rows])
        for name, feature in output.features.items():
            assert torch.equal(feature[rows], expected.features[name][rows]), name


@CORES
@LOOKAHEADS
def test_no_gradient_comes_from_after_the_lookahead(core, lookahead):
    model, inputs = student(core, lookahead), world()
    inputs["present"][:] = 1.0
    inputs["text"].requires_grad_()
    for row in range(9):
        (gradient,) = torch.autograd.grad(model(inputs).logits[row].sum(), inputs["text"])
        seen = gradient.abs().sum(1) > 0
        assert seen[: min(row + lookahead, 8) + 1].all(), "the past and the lookahead are seen"
        assert not seen[row + lookahead + 1 :].any(), "the future and the other conversation are not"


@CORES
def test_without_a_limit_the_whole_conversation_is_seen(core):
    model, inputs = student(core, None), world()
    inputs["present"][:] = 1.0
    inputs["text"].requires_grad_()
    for row in range(9):
        (gradient,) = torch.autograd.grad(model(inputs).logits[row].sum(), inputs["text"])
        seen = gradient.abs().sum(1) > 0
        assert seen[:9].all()
        assert not seen[9:].any()


@CORES
@LOOKAHEADS
def test_a_conversation_that_ends_early_says_the_same(core, lookahead):
    """As it is read live: utterance after utterance, each answered when the lookahead is there."""
    model, inputs = student(core, lookahead), world()
    whole = model(inputs).logits
    for row in range(9):
        end = min(row + lookahead, 8) + 1
        live = model({name: tensor[:end] for name, tensor in inputs.items()}).logits
        torch.testing.assert_close(live[row], whole[row], atol=1e-5, rtol=1e-5)


def test_what_was_said_before_is_known_while_a_modality_is_missing():
    model = student(GatedFusion, 0)
    inputs = world()
    inputs["present"][:] = 1.0
    inputs["present"][3, :] = 0.0
    expected = model(inputs).logits[3]
    inputs["text"][0] += 5.0
    assert (model(inputs).logits[3] - expected).abs().max() > 1e-6


def test_ahead_takes_the_turns_that_follow():
    x = torch.arange(10.0).view(1, 5, 2)
    windows = ahead(x, 3)
    assert windows.shape == (1, 5, 3, 2)
    for turn in range(5):
        for step in range(3):
            expected = x[0, turn + step] if turn + step < 5 else torch.zeros(2)
            assert torch.equal(windows[0, turn, step], expected)


def test_a_lookahead_convolution_adds_what_follows():
    convolution = LookaheadConvolution(3, 2)
    states, known = torch.randn(2, 5, 3), torch.tensor([[1.0, 1, 1, 1, 1], [0, 0, 1, 0, 0]])
    states = states * known.unsqueeze(-1)
    begun, heard = convolution(states, known)
    assert torch.equal(begun, states), "at first nothing is added"
    assert heard.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    torch.nn.init.normal_(convolution.weight)
    y, _ = convolution(states, known)
    for i in range(5):
        expected = states[:, i].clone()
        for n in (1, 2):
            if i + n < 5:
                expected += convolution.weight[n - 1] * states[:, i + n]
        torch.testing.assert_close(y[:, i], expected)


def test_a_negative_lookahead_is_refused():
    with pytest.raises(ValueError, match="lookahead must be 0 or more"):
        student(GatedFusion, -1)
