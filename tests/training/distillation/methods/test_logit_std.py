import statistics

import pytest
import torch

from training.distillation.methods.kd import kd
from training.distillation.methods.logit_std import LogitStd, logit_std, standardize


def test_value_is_kd_on_z_scores(draw):
    student, teacher = draw(5, 7), draw(5, 7)

    def z_scores(logits):
        rows = [[(z - statistics.fmean(row)) / statistics.pstdev(row) for z in row] for row in logits.tolist()]
        return torch.tensor(rows, dtype=torch.float64)

    torch.testing.assert_close(standardize(student), z_scores(student))
    torch.testing.assert_close(logit_std(student, teacher, 2.0), kd(z_scores(student), z_scores(teacher), 2.0))


def test_the_authors_code_is_a_temperature_larger(draw):
    """torch's std divides by C - 1."""
    student, teacher = draw(5, 7), draw(5, 7)
    s, t = ((z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True) for z in (student, teacher))
    ratio = (7 / 6) ** 0.5
    torch.testing.assert_close(kd(s, t, 2.0), logit_std(student, teacher, 2.0 * ratio) / ratio**2)


def test_shift_and_scale_change_nothing(draw):
    student, teacher = draw(5, 7), draw(5, 7)
    moved = logit_std(student * draw(5, 1).exp() + draw(5, 1), 0.01 * teacher - 8, 2.0)
    torch.testing.assert_close(moved, logit_std(student, teacher, 2.0))


def test_equal_logits_up_to_shift_and_scale_give_zero_and_no_gradient(draw):
    teacher = draw(5, 7)
    student = (3 * teacher + 1).requires_grad_()
    value = logit_std(student, teacher, 2.0)
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-14, rtol=0)


def test_constant_logits_have_finite_gradients(draw):
    student = torch.full((2, 7), 3.0, dtype=torch.float64, requires_grad=True)
    logit_std(student, draw(2, 7), 2.0).sum().backward()
    assert student.grad.isfinite().all()


def test_two_classes_are_refused(draw):
    with pytest.raises(ValueError, match="logit_std: needs three classes or more, there are 2"):
        logit_std(draw(4, 2), draw(4, 2), 2.0)


def test_terms_are_weighted(world):
    student, teachers, batch = world()
    term = LogitStd(temperature=3.0, weight=2.0).loss(student, teachers, batch)["logit_std/large"]
    torch.testing.assert_close(term, 2 * logit_std(student.logits, teachers["large"].logits, 3.0))
