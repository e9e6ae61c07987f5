import math

import pytest
import torch

from training.distillation.methods.pkt import LEAST_KERNEL, PKT, pkt


def neighbours(rows):
    """p(j | i) for j != i."""
    units = [[v / math.hypot(*row) for v in row] for row in rows]
    table = []
    for i, a in enumerate(units):
        others = [b for j, b in enumerate(units) if j != i]
        kernel = [(sum(x * y for x, y in zip(a, b, strict=True)) + 1) / 2 + LEAST_KERNEL for b in others]
        table.append([k / sum(kernel) for k in kernel])
    return table


def test_value_by_loops_and_its_mean_is_that_over_all_pairs(draw):
    student, teacher = draw(5, 4), draw(5, 7)
    pairs = zip(neighbours(student.tolist()), neighbours(teacher.tolist()), strict=True)
    rows = [sum(p * math.log(p / q) for q, p in zip(s, t, strict=True)) for s, t in pairs]
    value = pkt(student, teacher)
    torch.testing.assert_close(value, torch.tensor(rows, dtype=torch.float64) / 5)
    torch.testing.assert_close(value.mean(), torch.tensor(sum(rows) / 5**2, dtype=torch.float64))


def test_directions_decide(draw):
    """Turned as a whole, and every sample scaled on its own: zero, and the gradient vanishes."""
    teacher = draw(5, 4)
    turn, _ = torch.linalg.qr(draw(4, 4))
    student = (draw(5, 1).exp() * teacher @ turn).requires_grad_()
    value = pkt(student, teacher)
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-13, rtol=0)


@pytest.mark.parametrize("samples", [1, 2])
def test_without_a_choice_there_is_no_loss(draw, samples):
    student = draw(samples, 4).requires_grad_()
    value = pkt(student, draw(samples, 7))
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opposite_equal_and_zero_features_have_finite_gradients(draw, dtype):
    student = torch.tensor([[1, 0], [-1, 0], [1, 0], [0, 0]], dtype=dtype, requires_grad=True)
    value = pkt(student, draw(4, 7).to(dtype))
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad.isfinite().all()


def test_terms_are_weighted(world):
    student, teachers, batch = world("vector")
    term = PKT(weight=2.0).loss(student, teachers, batch)["pkt/small"]
    torch.testing.assert_close(term, 2 * pkt(student.features["h2"], teachers["small"].features["h2"]))
