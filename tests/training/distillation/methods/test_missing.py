import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training.distillation.methods.talk import PRESENT, labels, leaves, rows, speaker, spoilt
from training.distillation.methods.missing import Missing, combination_of, moved, relative_hardness, similarity_gap
from training.distillation.outputs import Output

COMBINATION = torch.tensor([7, 5, 6, 7, 4, 3, 2])
"""Of the rows of PRESENT: audio 1, video 2, text 4."""


def talk(draw):
    return speaker(draw, 5, PRESENT), {"t": speaker(draw, 6)}, labels(draw)


def built(student, teachers, **options):
    torch.manual_seed(0)
    method = Missing(**options)
    method.build(student, teachers)
    return method


def softmax(values):
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def gap_by_loops(student, teacher, valid, tau):
    gaps = []
    for i in range(len(student)):
        others = [j for j in range(len(student)) if j != i and valid[j]]
        p, q = (
            softmax([float(nn.functional.cosine_similarity(h[i], h[j], dim=0)) / tau for j in others])
            for h in (teacher.detach(), student.detach())
        )
        gaps.append((divergence(p, q) + divergence(q, p)) / 2)
    return gaps


def test_the_gap_by_loops(draw):
    student, teacher = draw(6, 4), draw(6, 7)
    valid = torch.tensor([True, True, False, True, True, True])
    expected = torch.tensor(gap_by_loops(student, teacher, valid, 0.5), dtype=torch.float64)
    torch.testing.assert_close(similarity_gap(student, teacher, valid, 0.5)[valid], expected[valid])


def test_the_gap_knows_neither_length_nor_rotation(draw):
    h, valid = draw(5, 4), torch.ones(5, dtype=torch.bool)
    rotation = torch.linalg.qr(draw(4, 4))[0]
    torch.testing.assert_close(similarity_gap(3 * h @ rotation, h, valid, 0.1), torch.zeros(5, dtype=torch.float64))
    assert similarity_gap(h[:1], 2 - h[:1], valid[:1], 0.1).eq(0).all()


def response_by_loops(student, teacher, temperature):
    result = []
    for i in range(len(student.logits)):
        p, q = (softmax([v / temperature for v in x.logits[i].tolist()]) for x in (teacher, student))
        result.append(temperature**2 * divergence(p, q) + float(student.score[i] - teacher.score[i]) ** 2)
    return torch.tensor(result, dtype=torch.float64)


def test_two_steps_by_loops(draw):
    student, teachers, batch = talk(draw)
    options = {"response": 2.0, "feature": 3.0, "base": 0.25, "temperature": 2.0, "similarity_temperature": 0.5}
    method = built(student, teachers, hardness=1.5, momentum=0.75, **options)
    method.hardness.fill_(-1)
    running: dict[int, float] = {}
    for _ in range(2):
        student, teachers, batch = talk(draw)
        teacher = teachers["t"]
        terms = method.loss(student, teachers, batch)
        mean = sum(running.values()) / max(len(running), 1)
        relative = [(running[c] / mean) ** 1.5 if c in running else 1.0 for c in COMBINATION.tolist()]
        weight = torch.tensor(relative, dtype=torch.float64)
        response = response_by_loops(student, teacher, 2.0)
        torch.testing.assert_close(terms["missing_response/t"], 2 * weight * response)
        adapted = method.adapters["t:penultimate-penultimate"](student.features["penultimate"]).detach()
        target = teacher.features["penultimate"]
        gaps = gap_by_loops(adapted, target, [True] * 7, 0.5)
        squares = [sum((a - b) ** 2 for a, b in zip(adapted[i].tolist(), target[i].tolist(), strict=True)) / 7
                   for i in range(7)]  # fmt: skip
        feature = torch.tensor([m * (0.25 + k) for m, k in zip(squares, gaps, strict=True)], dtype=torch.float64)
        torch.testing.assert_close(terms["missing_feature/t"], 3 * weight * feature)
        for c in COMBINATION.unique().tolist():
            new = float(response[c == COMBINATION].mean())
            running[c] = 0.75 * running[c] + 0.25 * new if c in running else new


def test_combinations_are_numbered_by_their_modalities(draw):
    student = talk(draw)[0]
    assert torch.equal(combination_of(student, student.score), COMBINATION)
    student.present = None
    assert combination_of(student, student.score).tolist() == [7] * 7


def test_running_means_move_only_where_there_were_samples():
    before = torch.tensor([-1.0, 2.0, 4.0, -1.0, -1.0, -1.0, -1.0, 1.0])
    after = moved(before, torch.tensor([1.0, 3.0, 8.0]), torch.tensor([3, 3, 2]), momentum=0.5)
    assert after.tolist() == [-1.0, 2.0, 6.0, 2.0, -1.0, -1.0, -1.0, 1.0]


def test_hard_combinations_weigh_more_and_unknown_ones_as_ever():
    hardness = torch.tensor([-1.0, 1.0, 3.0, -1.0, -1.0, -1.0, -1.0, 2.0])
    assert relative_hardness(hardness, 1.0).tolist() == [1.0, 0.5, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert relative_hardness(hardness, 0.0).tolist() == [1.0] * 8
    assert relative_hardness(torch.tensor([0.0, 0.0] + [-1.0] * 6), 2.0).tolist() == [1.0] * 8


def test_a_student_that_needs_no_teaching_has_neither_loss_nor_gradient(draw):
    teacher = speaker(draw, 5)
    student = leaves(teacher)
    student.present = PRESENT
    method = built(student, {"t": teacher}, base=1.0)
    terms = method.loss(student, {"t": teacher}, labels(draw))
    sum(value.sum() for value in terms.values()).backward()
    for value in (*terms.values(), student.logits.grad, student.features["penultimate"].grad):
        torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-12, rtol=0)


def test_weights_are_constants_for_the_gradient_and_stand_still_in_evaluation(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    method.loss(student, teachers, batch)
    method.eval()
    before = method.hardness.clone()
    names = ("logits", "score")

    def terms(logits, score, fused):
        changed = replace(student, logits=logits, score=score, features={"penultimate": fused})
        return tuple(method.loss(changed, teachers, batch).values())

    inputs = [getattr(student, name).clone().requires_grad_() for name in names]
    torch.autograd.gradcheck(terms, [*inputs, student.features["penultimate"].clone().requires_grad_()], fast_mode=True)
    assert torch.equal(method.hardness, before)


def test_a_resumed_run_goes_on_bit_for_bit(draw):
    first, second = talk(draw), talk(draw)
    method, other = built(*first[:2]), built(*first[:2])
    method.loss(*first)
    other.load_state_dict(method.state_dict())
    terms, again = method.loss(*second), other.loss(*second)
    assert all(torch.equal(value, again[name]) for name, value in terms.items())
    assert torch.equal(method.hardness, other.hardness)


def test_teachers_have_running_means_of_their_own(draw):
    student, teachers, batch = talk(draw)
    teachers["self"] = replace(speaker(draw, 6), logits=student.logits, score=student.score)
    method = built(student, teachers)
    method.loss(student, teachers, batch)
    seen = COMBINATION.unique()
    assert method.hardness[0, seen].gt(0).all()
    torch.testing.assert_close(method.hardness[1, seen], torch.zeros(6, dtype=torch.float64))


def test_terms_follow_their_samples(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    method.loss(student, teachers, batch)
    method.eval()
    order = torch.tensor([3, 0, 5, 1, 6, 4, 2])
    shuffled = method.loss(rows(student, order), {"t": rows(teachers["t"], order)}, batch)
    for name, value in method.loss(student, teachers, batch).items():
        torch.testing.assert_close(shuffled[name], value[order])


def test_absent_modalities_and_single_samples_are_harmless(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers).eval()
    plain = method.loss(student, teachers, batch)
    for name, value in method.loss(spoilt(student), teachers, batch).items():
        torch.testing.assert_close(value, plain[name])
    one = torch.tensor([2])
    alone = method.loss(rows(student, one), {"t": rows(teachers["t"], one)}, batch)
    torch.testing.assert_close(alone["missing_response/t"], plain["missing_response/t"][one])
    assert alone["missing_feature/t"].eq(0).all()  # base = 0: nobody to be compared with.


def test_a_temperature_does_nothing_to_scores(draw):
    student, teachers, batch = talk(draw)
    student.logits = None
    method, hot = (built(student, teachers, temperature=t) for t in (1.0, 8.0))
    assert torch.equal(*(m.loss(student, teachers, batch)["missing_response/t"] for m in (method, hot)))


def test_mistakes_are_named(draw):
    with pytest.raises(ValueError, match="momentum must be less than 1, got 1"):
        Missing(momentum=1.0)
    student, teachers, batch = talk(draw)
    bare = Output(features=student.features)
    method = built(student, teachers)
    with pytest.raises(
        ValueError, match="missing needs logits or a score, and the student and teacher 't' share neither"
    ):
        method.loss(bare, teachers, batch)
    with pytest.raises(ValueError, match=r"missing: call build\(student, teachers\) once"):
        Missing().loss(student, teachers, batch)
