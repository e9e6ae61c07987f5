from dataclasses import replace

import pytest
import torch

from tests.training.distillation.methods.talk import PRESENT, UNIT, labels, leaves, rows, speaker, spoilt
from training.distillation.methods.causal import Causal, following
from training.distillation.methods.kd import kd
from training.distillation.outputs import Batch, Output


def talk(draw):
    return speaker(draw, 5, PRESENT), {"t": speaker(draw, 6)}, labels(draw)


def built(student, teachers, **options):
    torch.manual_seed(0)
    method = Causal(**options)
    method.build(student, teachers)
    return method


def test_what_follows_ends_with_the_conversation():
    states = torch.arange(7.0).unsqueeze(1)
    future, there = following(states, UNIT, 2)
    # Conversations of rows 0-2, 3-4 and 5-6.
    assert there.tolist() == [[1, 1], [1, 0], [0, 0], [1, 0], [0, 0], [1, 0], [0, 0]]
    assert future[there].flatten().tolist() == [1, 2, 2, 4, 6]
    assert not following(states, None, 2)[1].any()
    assert following(states[:1], UNIT[:1], 3)[0].shape == (1, 3, 1)


def test_a_conversation_that_comes_back_is_not_taken_up_over_another(draw):
    _, there = following(draw(3, 1), torch.tensor([1, 2, 1]), 1)
    assert not there.any()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_by_loops(draw, steps):
    student, teachers, batch = talk(draw)
    teacher = teachers["t"]
    weights = {"response": 2.0, "representation": 3.0, "anticipation": 5.0}
    method = built(student, teachers, steps=steps, temperature=2.0, **weights)
    foresight = method.adapters["t:penultimate-penultimate"]
    h_s, h_t = student.features["penultimate"], teacher.features["penultimate"]
    expected = []
    for i in range(7):
        loss = 2 * (kd(student.logits[i], teacher.logits[i], 2.0) + (student.score[i] - teacher.score[i]) ** 2)
        loss = loss + 3 * (foresight.now(h_s[i]) - h_t[i]).square().mean()
        ahead = [
            (foresight.ahead[n - 1](h_s[i]) - h_t[i + n]).square().mean()
            for n in range(1, steps + 1)
            if i + n < 7 and UNIT[i + n] == UNIT[i]
        ]
        expected.append(loss + 5 * sum(ahead) / max(len(ahead), 1))
    terms = method.loss(student, teachers, batch)
    assert set(terms) == {"causal/t"}
    torch.testing.assert_close(terms["causal/t"], torch.stack(expected))


def test_a_student_equal_to_its_teacher_has_only_the_future_to_learn(draw):
    teacher = speaker(draw, 5)
    student = leaves(teacher)
    method = built(student, {"t": teacher})
    value = method.loss(student, {"t": teacher}, labels(draw))["causal/t"]
    last = torch.tensor([2, 4, 6])
    torch.testing.assert_close(value[last], torch.zeros(3, dtype=torch.float64))
    without = built(student, {"t": teacher}, steps=0).loss(student, {"t": teacher}, labels(draw))["causal/t"]
    torch.testing.assert_close(without, torch.zeros(7, dtype=torch.float64))
    # A teacher whose states move on by one fixed linear map can be foreseen without an error.
    rotation = torch.linalg.qr(draw(6, 6))[0]
    state = draw(6)
    states = [state]
    for _ in range(6):
        states.append(rotation @ states[-1])
    teacher.features["penultimate"] = student.features["penultimate"] = torch.stack(states)
    foresight = method.adapters["t:penultimate-penultimate"]
    for n, step in enumerate(foresight.ahead, 1):
        torch.nn.init.zeros_(step.bias)
        with torch.no_grad():
            step.weight.copy_(torch.linalg.matrix_power(rotation, n))
    value = method.loss(student, {"t": teacher}, labels(draw))["causal/t"]
    torch.testing.assert_close(value, torch.zeros_like(value))


def test_what_was_said_does_not_depend_on_other_conversations(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    whole = method.loss(student, teachers, batch)["causal/t"]
    # Other conversations first: their own terms go with them.
    order = torch.tensor([5, 6, 3, 4, 0, 1, 2])
    moved = method.loss(rows(student, order), {"t": rows(teachers["t"], order)}, replace(batch, unit=UNIT[order]))
    torch.testing.assert_close(moved["causal/t"], whole[order])
    part = slice(0, 3)
    alone = method.loss(
        rows(student, torch.arange(3)), {"t": rows(teachers["t"], torch.arange(3))}, replace(batch, unit=UNIT[part])
    )
    torch.testing.assert_close(alone["causal/t"], whole[part])


def test_gradients_agree_with_differences_and_reach_every_map(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    parameters = dict(method.named_parameters())

    def term(logits, fused, *trained):
        changed = replace(student, logits=logits, features={"penultimate": fused})
        state = dict(zip(parameters, trained, strict=True))
        return torch.func.functional_call(method, state, (changed, teachers, batch))["causal/t"]

    ours = [student.logits.clone().requires_grad_(), student.features["penultimate"].clone().requires_grad_()]
    torch.autograd.gradcheck(term, [*ours, *(p.detach().clone().requires_grad_() for p in parameters.values())],
                             fast_mode=True)  # fmt: skip
    method.loss(student, teachers, batch)["causal/t"].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in method.parameters())


def test_samples_for_themselves_have_no_future(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    alone = method.loss(student, teachers, replace(batch, unit=None))["causal/t"]
    short = built(student, teachers, steps=0)
    short.adapters.load_state_dict(method.adapters.state_dict(), strict=False)
    torch.testing.assert_close(alone, short.loss(student, teachers, batch)["causal/t"])
    first = torch.tensor([0])
    one = method.loss(rows(student, first), {"t": rows(teachers["t"], first)}, Batch(unit=UNIT[:1]))["causal/t"]
    torch.testing.assert_close(one, alone[first])


def test_absent_modalities_are_harmless(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    plain = method.loss(student, teachers, batch)["causal/t"]
    torch.testing.assert_close(method.loss(spoilt(student), teachers, batch)["causal/t"], plain)


def test_mistakes_are_named(draw):
    student, teachers, batch = talk(draw)
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        Causal(steps=-1)
    with pytest.raises(ValueError, match="causal needs features, and teacher 't' gives none"):
        built(student, {"t": Output(logits=teachers["t"].logits)})
    with pytest.raises(ValueError, match="causal needs logits or a score"):
        built(student, teachers).loss(student, {"t": Output(features=teachers["t"].features)}, batch)
