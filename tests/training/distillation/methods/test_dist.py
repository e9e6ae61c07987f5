import statistics

import pytest
import torch

from training.distillation.methods.dist import DIST, dist


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_values_by_the_standard_library(draw, temperature):
    student, teacher = draw(6, 4), draw(6, 4)
    y_s, y_t = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    inter = [1 - statistics.correlation(y_s[i].tolist(), y_t[i].tolist()) for i in range(6)]
    intra = sum(1 - statistics.correlation(y_s[:, c].tolist(), y_t[:, c].tolist()) for c in range(4)) / 4
    got_inter, got_intra = dist(student, teacher, temperature)
    torch.testing.assert_close(got_inter, temperature**2 * torch.tensor(inter, dtype=torch.float64))
    torch.testing.assert_close(got_intra, torch.full((6,), temperature**2 * intra, dtype=torch.float64))


def test_equal_predictions_give_zero_and_no_gradient(draw):
    teacher = draw(6, 4)
    student = (teacher + 3).requires_grad_()
    inter, intra = dist(student, teacher, 1.0)
    (inter + intra).sum().backward()
    for value in (inter, intra, student.grad):
        torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)


def test_shifts_of_logits_change_nothing(draw):
    student, teacher = draw(6, 4), draw(6, 4)
    for moved, plain in zip(dist(student + draw(6, 1), teacher - 9, 1.0), dist(student, teacher, 1.0), strict=True):
        torch.testing.assert_close(moved, plain)


def test_two_classes_agree_or_disagree():
    student = torch.tensor([[2.0, 1.0], [0.5, 3.0]], dtype=torch.float64)
    inter, _ = dist(student, torch.tensor([[9.0, 0.0], [9.0, 0.0]], dtype=torch.float64), 1.0)
    torch.testing.assert_close(inter, torch.tensor([0.0, 2.0], dtype=torch.float64))


def test_a_rare_class_keeps_its_correlation(draw):
    """With the authors' 1e-8 in the denominator a class of probability 1e-9 would correlate with nothing."""
    logits = draw(6, 4)
    logits[:, 0] -= 21
    _, intra = dist(logits + 0.1 * draw(6, 4), logits, 1.0)
    assert intra[0] < 0.1


def test_constant_predictions_and_single_samples_have_finite_gradients(draw):
    for student in (torch.zeros(3, 4, dtype=torch.float64), draw(1, 4)):
        student.requires_grad_()
        inter, intra = dist(student, student.detach().clone(), 1.0)
        (inter + intra).sum().backward()
        assert student.grad.isfinite().all()


def test_terms_are_weighted(world):
    student, teachers, batch = world()
    terms = DIST(beta=2.0, gamma=3.0, temperature=2.0).loss(student, teachers, batch)
    inter, intra = dist(student.logits, teachers["small"].logits, 2.0)
    torch.testing.assert_close(terms["dist_inter/small"], 2 * inter)
    torch.testing.assert_close(terms["dist_intra/small"], 3 * intra)
