import math

import pytest
import torch

from training.distillation.methods.cc import CC, cc, correlation


def kernel(rows, gamma, order):
    units = [[v / math.hypot(*row) for v in row] for row in rows]
    dots = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in units] for a in units]
    series = [math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) for p in range(order + 1)]
    return [[sum(c * dot**p for p, c in enumerate(series)) for dot in row] for row in dots]


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 1), (0.4, 2), (1.5, 5)])
def test_value_by_loops_and_its_mean_is_the_published_one(draw, gamma, order):
    student, teacher = draw(5, 4), draw(5, 7)
    s, t = kernel(student.tolist(), gamma, order), kernel(teacher.tolist(), gamma, order)
    rows = [sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in zip(s, t, strict=True)]
    value = cc(student, teacher, gamma, order)
    torch.testing.assert_close(value, torch.tensor(rows, dtype=torch.float64) / 5)
    torch.testing.assert_close(value.mean(), torch.tensor(sum(rows) / 5**2, dtype=torch.float64))


def test_high_orders_tend_to_the_gaussian_kernel(draw):
    x = draw(5, 4)
    gaussian = torch.exp(-0.4 * torch.cdist(torch.nn.functional.normalize(x), torch.nn.functional.normalize(x)) ** 2)
    torch.testing.assert_close(correlation(x, 0.4, 20), gaussian)


def test_directions_decide(draw):
    """Turned as a whole, and every sample scaled on its own: zero, and the gradient vanishes."""
    teacher = draw(5, 4)
    turn, _ = torch.linalg.qr(draw(4, 4))
    student = (draw(5, 1).exp() * teacher @ turn).requires_grad_()
    value = cc(student, teacher, 0.4, 2)
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-13, rtol=0)


def test_zero_features_have_finite_gradients(draw):
    student = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    cc(student, draw(3, 7), 0.4, 2).sum().backward()
    assert student.grad.isfinite().all()


def test_terms_are_weighted_and_hyper_parameters_checked(world):
    student, teachers, batch = world("vector")
    term = CC(weight=3.0, gamma=0.7, order=3).loss(student, teachers, batch)["cc/small"]
    torch.testing.assert_close(term, 3 * cc(student.features["h2"], teachers["small"].features["h2"], 0.7, 3))
    with pytest.raises(ValueError, match="order must be at least 1"):
        CC(order=0)
    with pytest.raises(TypeError, match="order must be a whole number"):
        CC(order=2.5)
