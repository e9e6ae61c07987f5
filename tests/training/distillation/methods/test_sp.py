import math

import torch

from training.distillation.methods.sp import SP, sp


def similarity(rows):
    table = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
    return [[v / math.sqrt(sum(x * x for x in row)) for v in row] for row in table]


def test_value_by_loops_and_its_mean_is_the_published_one(draw):
    student, teacher = draw(5, 4), draw(5, 7)
    s, t = similarity(student.tolist()), similarity(teacher.tolist())
    rows = [sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in zip(s, t, strict=True)]
    value = sp(student, teacher)
    torch.testing.assert_close(value, torch.tensor(rows, dtype=torch.float64) / 5)
    torch.testing.assert_close(value.mean(), torch.tensor(sum(rows) / 5**2, dtype=torch.float64))


def test_turned_and_scaled_features_give_zero_and_no_gradient(draw):
    teacher = draw(5, 4)
    turn, _ = torch.linalg.qr(draw(4, 4))
    student = (2 * teacher @ turn).requires_grad_()
    value = sp(student, teacher)
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-13, rtol=0)


def test_zero_features_have_finite_gradients(draw):
    student = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    sp(student, draw(3, 7)).sum().backward()
    assert student.grad.isfinite().all()


def test_sequences_are_flattened_with_zeros_where_masked(world):
    student, teachers, batch = world()
    s = (student.features["h2"] * student.masks["h2"][..., None]).flatten(1)
    t = (teachers["large"].features["h2"] * teachers["large"].masks["h2"][..., None]).flatten(1)
    term = SP(weight=3.0).loss(student, teachers, batch)["sp/large"]
    torch.testing.assert_close(term, 3 * sp(s, t))
