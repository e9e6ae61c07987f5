import statistics

import pytest
import torch

from training.distillation.methods.numerics import kl, length, off_diagonal, pearson, unit


def test_length_and_unit_are_those_of_torch(draw):
    x = draw(4, 5)
    torch.testing.assert_close(length(x), x.norm(dim=1))
    torch.testing.assert_close(unit(x, dim=0), torch.nn.functional.normalize(x, dim=0))


@pytest.mark.parametrize("function", [length, unit])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_has_no_gradient_of_any_order(function, dtype):
    x = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    value = function(x)
    (grad,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    grad.sum().backward()
    assert value.eq(0).all()
    assert grad.eq(0).all()
    assert x.grad.eq(0).all()


def test_pearson_is_that_of_the_standard_library(draw):
    x, y = draw(3, 6), draw(3, 6)
    expected = [statistics.correlation(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    torch.testing.assert_close(pearson(x, y), torch.tensor(expected, dtype=torch.float64))
    assert pearson(torch.ones(3), torch.arange(3.0)) == 0


def test_kl_is_that_of_distributions(draw):
    teacher, student = draw(3, 6), draw(3, 6)
    p, q = torch.distributions.Categorical(logits=teacher), torch.distributions.Categorical(logits=student)
    torch.testing.assert_close(kl(teacher, student), torch.distributions.kl_divergence(p, q))


def test_off_diagonal():
    assert off_diagonal(torch.arange(9).view(3, 3)).tolist() == [[1, 2], [3, 5], [6, 7]]
    assert off_diagonal(torch.zeros(1, 1)).shape == (1, 0)
