import math

import pytest
import torch

from training.distillation.methods.nst import NST, nst
from training.distillation.outputs import Batch, Output


def channels(sample):
    """Unit activations over positions of [N, D], a list per channel."""
    columns = [list(column) for column in zip(*sample, strict=True)]
    return [[v / math.sqrt(sum(x * x for x in column)) for v in column] for column in columns]


def mean_kernel(first, second):
    dots = [sum(x * y for x, y in zip(a, b, strict=True)) for a in first for b in second]
    return sum(dot**2 for dot in dots) / len(dots)


def test_value_is_the_discrepancy_by_loops_over_pairs_of_channels(draw):
    student, teacher = draw(3, 4, 5), draw(3, 4, 7)
    expected = []
    for sample_s, sample_t in zip(student.tolist(), teacher.tolist(), strict=True):
        s, t = channels(sample_s), channels(sample_t)
        expected.append(mean_kernel(t, t) + mean_kernel(s, s) - 2 * mean_kernel(s, t))
    torch.testing.assert_close(nst(student, teacher), torch.tensor(expected, dtype=torch.float64))


def test_channels_have_no_order_no_scale_and_no_count(draw):
    """The same distribution of selectivities: zero, and the gradient vanishes."""
    teacher = draw(3, 4, 5)
    student = torch.cat([2 * teacher, -teacher.flip(2)], 2).requires_grad_()
    value = nst(student, teacher)
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-14, rtol=0)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-14, rtol=0)


def test_no_product_of_all_channels_is_kept(draw):
    """Element counts of what is kept for backward do not grow with the product of the widths."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    student, teacher = draw(2, 4, 60).requires_grad_(), draw(2, 4, 100)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nst(student, teacher)
    assert max(kept) <= 2 * 4 * 100


def test_dead_channels_have_finite_gradients(draw):
    student = torch.zeros(2, 4, 5, dtype=torch.float64, requires_grad=True)
    nst(student, draw(2, 4, 7)).sum().backward()
    assert student.grad.isfinite().all()


def test_vectors_are_refused_and_terms_weighted(draw, world):
    student, teachers, batch = world("map")
    term = NST(weight=2.0).loss(student, {"small": teachers["small"]}, batch)["nst/small"]
    s, t = (output.features["h2"].flatten(2).transpose(1, 2) for output in (student, teachers["small"]))
    torch.testing.assert_close(term, 2 * nst(s, t))
    with pytest.raises(ValueError, match="nst compares positions"):
        NST().loss(Output(features={"h": draw(2, 6)}), {"t": Output(features={"h": draw(2, 6)})}, Batch())
