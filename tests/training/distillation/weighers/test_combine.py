import pytest
import torch

from training.distillation.weighers.combine import total


def test_values_by_loops(draw):
    terms = {"kd/a": draw(4), "kd/b": draw(4), "rkd_angle/b": draw(4), "ekd": draw(4)}
    weights = draw(4, 2).softmax(1)
    expected = []
    for i in range(4):
        a, b = weights[i].tolist()
        expected.append(a * terms["kd/a"][i] + b * (terms["kd/b"][i] + terms["rkd_angle/b"][i]) + terms["ekd"][i])
    torch.testing.assert_close(total(terms, weights, ["a", "b"]), torch.stack(expected))


def test_the_mixture_of_gradients(draw):
    term, weights = draw(4, 2).requires_grad_(), draw(4, 2).softmax(1)
    total({"kd/a": term[:, 0], "kd/b": term[:, 1]}, weights, {"a": 1, "b": 2}).sum().backward()
    torch.testing.assert_close(term.grad, weights)


def test_what_does_not_fit_is_refused(draw):
    with pytest.raises(ValueError, match="'kd/c' belongs to no teacher: there are a, b"):
        total({"kd/c": draw(4)}, draw(4, 2), ["a", "b"])
    with pytest.raises(ValueError, match=r"must be \[B, 2\], got \[4, 3\]"):
        total({"kd/a": draw(4)}, draw(4, 3), ["a", "b"])
    with pytest.raises(ValueError, match="no terms"):
        total({}, draw(4, 2), ["a", "b"])


def test_a_teachers_name_may_have_slashes(draw):
    term, weights = draw(4), draw(4, 2).softmax(1)
    mixed = total({"kd/hf:owner/name": term}, weights, ["a", "hf:owner/name"])
    torch.testing.assert_close(mixed, term * weights[:, 1])
