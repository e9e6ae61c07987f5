import math

import pytest
import torch

from training.distillation.methods.attention import Attention, attention
from training.distillation.outputs import Batch, Output


def energies(feature, power):
    rows = [[sum(abs(v) ** power for v in step) for step in sample] for sample in feature.tolist()]
    return [[q / math.sqrt(sum(v * v for v in row)) for q in row] for row in rows]


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_value_by_loops_with_other_widths(draw, power):
    student, teacher = draw(3, 4, 5), draw(3, 4, 7)
    pairs = zip(energies(student, power), energies(teacher, power), strict=True)
    expected = [sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / 4 for s, t in pairs]
    value = attention(student, teacher, torch.ones(3, 4), power)
    torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64))


def test_scale_and_order_of_channels_change_nothing(draw):
    student, teacher, mask = draw(3, 4, 5), draw(3, 4, 7), torch.ones(3, 4)
    moved = attention(3 * student[..., [4, 2, 0, 1, 3]], -teacher, mask)
    torch.testing.assert_close(moved, attention(student, teacher, mask))


def test_equal_energies_give_zero_and_no_gradient(draw):
    teacher = draw(3, 4, 5)
    student = (2 * teacher).requires_grad_()
    value = attention(student, teacher, torch.ones(3, 4))
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-14, rtol=0)


def test_masked_steps_are_as_if_cut_off(draw):
    s, t = draw(2, 5, 6), draw(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
    student, teacher = Output(features={"h": s}, masks={"h": mask}), Output(features={"h": t})
    term = Attention(weight=1).loss(student, {"t": teacher}, Batch())["attention/t"]
    torch.testing.assert_close(term, attention(s[:, :3], t[:, :3], torch.ones(2, 3)))


def test_maps_are_cells(draw):
    s, t = draw(2, 6, 3, 4), draw(2, 8, 3, 4)
    student, teacher = Output(features={"h": s}), Output(features={"h": t})
    term = Attention(weight=1).loss(student, {"t": teacher}, Batch())["attention/t"]
    q_s, q_t = (torch.nn.functional.normalize(x.square().mean(1).flatten(1)) for x in (s, t))
    torch.testing.assert_close(term, (q_s - q_t).square().mean(1))


def test_vectors_are_refused(draw):
    vector = Output(features={"h": draw(2, 6)})
    with pytest.raises(ValueError, match=r"two sequences or two maps; the student's 'h' is a vector \[B, D\]"):
        Attention().loss(vector, {"t": vector}, Batch())
