import math

import pytest
import torch

from training.distillation.methods.rkd import RKD, angle, distance


def huber(x, y):
    difference = abs(x - y)
    return 0.5 * difference**2 if difference <= 1 else difference - 0.5


def scaled_distances(rows):
    size = len(rows)
    table = [[math.dist(rows[i], rows[j]) for j in range(size)] for i in range(size)]
    mean = sum(map(sum, table)) / (size * (size - 1))
    return [[value / mean for value in row] for row in table]


def cosine(rows, i, j, k):
    """Of the angle at i between j and k; 0 where it has no sides."""
    a, b = ([x - y for x, y in zip(rows[n], rows[i], strict=True)] for n in (j, k))
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def test_distances_by_loops(draw):
    student, teacher = 3 * draw(5, 4), draw(5, 7)
    s, t = scaled_distances(student.tolist()), scaled_distances(teacher.tolist())
    expected = [sum(huber(s[i][j], t[i][j]) for j in range(5)) / 5 for i in range(5)]
    torch.testing.assert_close(distance(student, teacher), torch.tensor(expected, dtype=torch.float64))


def test_angles_by_loops(draw):
    student, teacher = draw(5, 4), draw(5, 7)
    s, t = student.tolist(), teacher.tolist()
    triples = [[(i, j, k) for j in range(5) for k in range(5)] for i in range(5)]
    expected = [sum(huber(cosine(s, *triple), cosine(t, *triple)) for triple in row) / 25 for row in triples]
    torch.testing.assert_close(angle(student, teacher), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("part", [distance, angle])
def test_similar_shapes_give_zero_and_no_gradient(draw, part):
    """Moved, turned and scaled: distances and angles see none of it."""
    teacher = draw(5, 4)
    turn, _ = torch.linalg.qr(draw(4, 4))
    student = (3 * teacher @ turn + 7).requires_grad_()
    value = part(student, teacher)
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-13, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-12, rtol=0)


@pytest.mark.parametrize("part", [distance, angle])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_equal_samples_have_finite_gradients(draw, part, samples):
    student = torch.ones(samples, 4, dtype=torch.float64)
    if samples == 5:
        student[3:] = draw(2, 4)
    student.requires_grad_()
    value = part(student, draw(samples, 7))
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad.isfinite().all()


def test_parts_of_weight_zero_are_not_computed(world):
    student, teachers, batch = world()
    terms = RKD(angle_weight=0.0, distance_weight=2.0, pooling="flatten").loss(student, teachers, batch)
    assert list(terms) == ["rkd_distance/large", "rkd_distance/small"]


def test_default_weights(world):
    student, teachers, batch = world("vector")
    terms = RKD().loss(student, teachers, batch)
    s, t = student.features["h2"], teachers["small"].features["h2"]
    torch.testing.assert_close(terms["rkd_distance/small"], 25 * distance(s, t))
    torch.testing.assert_close(terms["rkd_angle/small"], 50 * angle(s, t))
