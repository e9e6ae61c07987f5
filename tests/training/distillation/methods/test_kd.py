import math

import pytest
import torch

from training.distillation.methods.kd import KD, kd
from training.distillation.outputs import Batch, Output


def softmax(row, temperature):
    weights = [math.exp(z / temperature) for z in row]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_value_by_loops(draw, temperature):
    student, teacher = draw(5, 7), draw(5, 7)
    expected = []
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = softmax(z_t, temperature), softmax(z_s, temperature)
        expected.append(temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    torch.testing.assert_close(kd(student, teacher, temperature), torch.tensor(expected, dtype=torch.float64))


def test_gradient_is_the_difference_of_probabilities(draw):
    student, teacher = draw(5, 7).requires_grad_(), draw(5, 7)
    kd(student, teacher, 3.0).sum().backward()
    torch.testing.assert_close(student.grad, 3.0 * ((student / 3).softmax(1) - (teacher / 3).softmax(1)).detach())


def test_shifts_of_logits_change_nothing(draw):
    student, teacher = draw(5, 7), draw(5, 7)
    torch.testing.assert_close(kd(student + 100, teacher - draw(5, 1), 2.0), kd(student, teacher, 2.0))


def test_equal_logits_up_to_a_shift_give_zero_and_no_gradient(draw):
    teacher = draw(5, 7)
    student = (teacher + 5).requires_grad_()
    value = kd(student, teacher, 4.0)
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-14, rtol=0)


def test_hot_limit_is_the_squared_distance_of_centred_logits(draw):
    student, teacher = draw(5, 7), draw(5, 7)
    difference = student - student.mean(1, keepdim=True) - teacher + teacher.mean(1, keepdim=True)
    torch.testing.assert_close(kd(student, teacher, 1e4), difference.square().sum(1) / (2 * 7), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1e-4, 1e-2, 1e2, 1e4])
def test_extreme_temperatures_stay_finite(draw, dtype, temperature):
    student = (50 * draw(5, 7)).to(dtype).requires_grad_()
    value = kd(student, (50 * draw(5, 7)).to(dtype), temperature)
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad.isfinite().all()


def test_terms_are_named_by_teacher_and_weighted(world):
    student, teachers, batch = world()
    terms = KD(temperature=2.0, weight=0.5).loss(student, teachers, batch)
    assert list(terms) == ["kd/large", "kd/small"]
    torch.testing.assert_close(terms["kd/small"], kd(student.logits, teachers["small"].logits, 2.0) / 2)


def test_a_single_output_is_refused(draw):
    one = Output(logits=draw(3, 1))
    with pytest.raises(ValueError, match=r"softmax of one output is constant; use the method `score`"):
        KD().loss(one, {"t": one}, Batch())


def test_scores_without_logits_are_refused(draw):
    scores = Output(score=draw(3))
    with pytest.raises(ValueError, match=r"the student gives none; .* `score`"):
        KD().loss(scores, {"t": scores}, Batch())


def test_other_classes_and_no_teachers_are_refused(draw):
    student = Output(logits=draw(3, 4))
    with pytest.raises(ValueError, match=r"student are \(3, 4\), those of teacher 'big' \(3, 5\)"):
        KD().loss(student, {"big": Output(logits=draw(3, 5))}, Batch())
    with pytest.raises(ValueError, match="at least one teacher"):
        KD().loss(student, {}, Batch())


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"temperature": float("nan")}, {"weight": -1}])
def test_wrong_values_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KD(**wrong)


@pytest.mark.parametrize("wrong", [{"temperature": "4"}, {"temperature": True}, {"temprature": 4}])
def test_wrong_types_and_names_are_named(wrong):
    with pytest.raises(TypeError, match=next(iter(wrong))):
        KD(**wrong)
