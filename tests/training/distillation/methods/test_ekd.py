import math

import pytest
import torch

from training.distillation.methods.ekd import EKD, average, ekd
from training.distillation.methods.matching import pairs_of
from training.distillation.outputs import Batch, Output


def by_loops(predicted, target, mask, direction):
    """The loss of every sample, from numbers."""
    losses = []
    for p_rows, h_rows, kept in zip(predicted.tolist(), target.tolist(), mask.tolist(), strict=True):
        values = []
        for p, h, keep in zip(p_rows, h_rows, kept, strict=True):
            if keep:
                cosine = sum(a * b for a, b in zip(p, h, strict=True)) / (math.hypot(*p) * math.hypot(*h))
                l1 = sum(abs(a - b) for a, b in zip(p, h, strict=True)) / len(p)
                values.append(l1 + direction * math.log(1 + math.exp(-cosine)))
        losses.append(sum(values) / len(values) if values else 0.0)
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("direction", [0.0, 1.0, 2.5])
def test_values_by_loops(draw, direction):
    predicted, target = draw(4, 5, 3), draw(4, 5, 3)
    mask = torch.ones(4, 5)
    mask[0, 2:] = 0
    mask[1] = 0
    torch.testing.assert_close(ekd(predicted, target, mask, direction), by_loops(predicted, target, mask, direction))


def test_equal_features_give_the_least_value_and_no_gradient(draw):
    target = draw(4, 5, 3)
    predicted = target.clone().requires_grad_()
    loss = ekd(predicted, target, torch.ones(4, 5), 2.0)
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.full((4,), 2 * math.log(1 + math.exp(-1)), dtype=torch.float64))
    torch.testing.assert_close(predicted.grad, torch.zeros_like(predicted.grad), atol=1e-14, rtol=0)
    assert (ekd(target + 0.01 * draw(4, 5, 3), target, torch.ones(4, 5), 2.0) > loss).all()


def test_gradients(draw):
    target, mask = draw(3, 4, 2), torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]])
    assert torch.autograd.gradcheck(lambda p: ekd(p, target, mask, 1.5), draw(3, 4, 2).requires_grad_())


def test_each_teacher_has_its_own_head_and_term(world):
    student, teachers, batch = world()
    method = EKD(layers=[("h1", "h2"), ("h2", "h2")], direction=0.5, weight=3.0)
    method.build(student, teachers)
    terms = method.loss(student, teachers, batch)
    assert list(terms) == ["ekd/large", "ekd/small"]
    pair, other = pairs_of("ekd", method.layers, student, teachers)["small"]
    expected = torch.zeros(6, dtype=torch.float64)
    for item in (pair, other):
        h_s, h_t, mask = item.grids()
        expected += 3 * by_loops(method.adapter(item)(h_s), h_t, mask, 0.5)
    torch.testing.assert_close(terms["ekd/small"], expected)
    assert method.adapter(pair) is not method.adapter(other)


def test_the_average_is_that_of_the_steps_that_all_have(draw):
    """Two teachers, the second without its last step: what stands there must not matter."""
    features = [draw(2, 3, 4), draw(2, 3, 4)]
    features[1][1, 2] = float("nan")
    mask = torch.ones(2, 3)
    mask[1, 2] = 0
    teachers = {"a": Output(features={"h": features[0]}), "b": Output(features={"h": features[1]}, masks={"h": mask})}
    student = Output(features={"h": draw(2, 3, 5)})
    method = EKD(mode="average")
    method.build(student, teachers)
    terms = method.loss(student, teachers, Batch())
    (head,) = method.adapters.values()
    target = (features[0] + features[1].nan_to_num()) / 2
    torch.testing.assert_close(terms["ekd"], by_loops(head(student.features["h"]), target, mask, 1.0))
    assert list(terms) == ["ekd"]


def test_equal_teachers_average_to_each_of_them(world):
    student, teachers, _ = world()
    same = {"a": teachers["small"], "b": teachers["small"], "c": teachers["small"]}
    mean = average(pairs_of("ekd", (("h1", "h1"), ("h1", "h2")), student, same))
    there = teachers["small"].masks["h1"].unsqueeze(-1) > 0
    torch.testing.assert_close(mean.features["0"], torch.where(there, teachers["small"].features["h1"], 0.0))
    torch.testing.assert_close(mean.features["1"], torch.where(there, teachers["small"].features["h2"], 0.0))


def test_teachers_without_an_average_are_refused(world):
    student, teachers, _ = world()
    with pytest.raises(ValueError, match=r"one shape from all teachers, got .*'large': \(6, 7, 8\).*'per_teacher'"):
        EKD(mode="average").build(student, teachers)
    with pytest.raises(ValueError, match=r"as many layers from each teacher, got \{'large': 2, 'small': 1\}"):
        EKD(mode="average", layers=[("h1", "h1"), ("h1", "large:h2")]).build(student, teachers)


@pytest.mark.parametrize("form", ["map", "vector"])
def test_other_forms_of_features(world, form):
    student, teachers, batch = world(form)
    method = EKD()
    method.build(student, teachers)
    assert all(term.shape == (6,) and term.isfinite().all() for term in method(student, teachers, batch).values())


@pytest.mark.parametrize(
    "wrong", [{"mode": "mean"}, {"direction": -1.0}, {"weight": -1.0}, {"direction": float("nan")}]
)
def test_wrong_hyperparameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EKD(**wrong)
