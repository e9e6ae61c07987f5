import math

import pytest
import torch

from training.distillation.methods.score import Score, absolute, gaussian, square
from training.distillation.outputs import Batch, Output


def test_values_by_loops(draw):
    student, teacher, variance = draw(6), draw(6), draw(6).exp()
    rows = list(zip(student.tolist(), teacher.tolist(), variance.tolist(), strict=True))
    assert square(student, teacher).tolist() == pytest.approx([(s - t) ** 2 for s, t, _ in rows])
    assert absolute(student, teacher).tolist() == pytest.approx([abs(s - t) for s, t, _ in rows])
    expected = [0.5 * (math.log(v) + (s - t) ** 2 / v) for s, t, v in rows]
    assert gaussian(student, teacher, variance).tolist() == pytest.approx(expected)


def test_gaussian_is_the_likelihood_up_to_its_constant(draw):
    student, teacher, variance = draw(6), draw(6), draw(6).exp()
    likelihood = torch.distributions.Normal(teacher, variance.sqrt()).log_prob(student)
    torch.testing.assert_close(gaussian(student, teacher, variance), -likelihood - 0.5 * math.log(2 * math.pi))


@pytest.mark.parametrize("loss", [square, absolute])
def test_equal_scores_give_zero_and_no_gradient(draw, loss):
    teacher = draw(6)
    student = teacher.clone().requires_grad_()
    value = loss(student, teacher)
    value.sum().backward()
    assert value.eq(0).all()
    assert student.grad.eq(0).all()


def test_an_unsure_teacher_counts_less(world):
    student, teachers, batch = world()
    student.score = student.score.requires_grad_()
    teachers["large"].variance = torch.tensor([0.1, 10.0, 0.1, 10.0, 0.1, 10.0], dtype=torch.float64)
    teachers["large"].score = student.score.detach() + 1
    Score(form="gaussian").loss(student, {"large": teachers["large"]}, batch)["score/large"].sum().backward()
    torch.testing.assert_close(student.score.grad, -1 / teachers["large"].variance)


def test_tiny_variances_are_raised(draw):
    student = Output(score=torch.ones(2))
    teacher = Output(score=torch.zeros(2), variance=torch.tensor([0.0, 1e-9]))
    term = Score(form="gaussian", least_variance=0.5).loss(student, {"t": teacher}, Batch())["score/t"]
    torch.testing.assert_close(term, torch.full((2,), (math.log(0.5) + 2) / 2))


def test_what_is_missing_is_said(draw):
    with pytest.raises(ValueError, match="teacher 't' gives none; use a method for classes"):
        Score().loss(Output(score=draw(2)), {"t": Output(logits=draw(2, 3))}, Batch())
    with pytest.raises(ValueError, match="needs a variance, and teacher 't' gives none; use `square`"):
        Score(form="gaussian").loss(Output(score=draw(2)), {"t": Output(score=draw(2))}, Batch())
    with pytest.raises(ValueError, match=r"one number a sample, \[B\], and the student gives \(2, 1\)"):
        Score().loss(Output(score=draw(2, 1)), {"t": Output(score=draw(2))}, Batch())
    with pytest.raises(ValueError, match="form must be one of square, absolute, gaussian"):
        Score(form="cubic")
