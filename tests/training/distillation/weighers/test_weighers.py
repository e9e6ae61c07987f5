"""What holds for every weigher."""

from dataclasses import asdict

import pytest
import torch

from training.distillation.outputs import Batch, Output
from training.distillation.weighers import WEIGHERS
from training.distillation.weighers.attention_select import AttentionSelect
from training.distillation.weighers.meta import Meta

CASES = {
    "uniform": {},
    "entropy": {},
    "confidence": {},
    "confidence of features": {"of": "features"},
    "attention_select": {},
    "attention_select of terms": {"learn_from": "terms", "pooling": "mean"},
    "meta": {},
    "meta of features": {"of": "features", "hidden": 7},
}


@pytest.fixture(params=CASES)
def weigher(request):
    """Each weigher in each of its modes, not built yet."""
    torch.manual_seed(3)
    return WEIGHERS[request.param.split()[0]](**CASES[request.param])


def stir(weigher):
    """Move what starts at zero away from there."""
    with torch.no_grad():
        for parameter in weigher.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_rows_are_shares(weigher, world):
    student, teachers, batch = world()
    weigher.build(student, teachers)
    stir(weigher)
    weights = weigher.weigh(student, teachers, batch)
    assert weights.shape == (6, 4)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(6, dtype=torch.float64))


def test_one_teacher_has_weight_one(weigher, world):
    student, teachers, batch = world(teachers=1)
    weigher.build(student, teachers)
    stir(weigher)
    weights = weigher.weigh(student, teachers, batch)
    torch.testing.assert_close(weights, torch.ones(6, 1, dtype=torch.float64))


def test_equal_teachers_are_equal(weigher, world):
    student, teachers, batch = world()
    same = dict.fromkeys(teachers, teachers["small"])
    weigher.build(student, same)
    if hasattr(weigher, "projections"):
        for module in (*weigher.projections.values(), *weigher.classifiers.values()):
            torch.nn.init.constant_(module.weight, 0.1)
            torch.nn.init.zeros_(module.bias)
    weights = weigher.weigh(student, same, batch)
    torch.testing.assert_close(weights, torch.full((6, 4), 0.25, dtype=torch.float64))


def test_teachers_in_another_order_have_their_weights_in_that_order(weigher, world):
    student, teachers, batch = world()
    weigher.build(student, teachers)
    stir(weigher)
    before = weigher.weigh(student, teachers, batch)
    order = [2, 0, 3, 1]
    names = list(teachers)
    permuted = {names[k]: teachers[names[k]] for k in order}
    with torch.no_grad():
        if isinstance(weigher, AttentionSelect):
            weigher.theta.copy_(weigher.theta[order])
        if isinstance(weigher, Meta):
            widths = [t.features["h"].shape[2] if weigher.config.of == "features" else 3 for t in teachers.values()]
            blocks = [*weigher.net[0].weight.split([*widths, weigher.net[0].in_features - sum(widths)], dim=1)]
            weigher.net[0].weight = torch.nn.Parameter(torch.cat([blocks[k] for k in [*order, 4]], dim=1))
            weigher.net[2].weight.copy_(weigher.net[2].weight[order])
            weigher.net[2].bias.copy_(weigher.net[2].bias[order])
    torch.testing.assert_close(weigher.weigh(student, permuted, batch), before[:, order])


def test_no_gradient_reaches_student_or_teachers(weigher, world):
    student, teachers, batch = world()
    weigher.build(student, teachers)
    stir(weigher)
    leaves = [
        tensor.requires_grad_()
        for output in (student, *teachers.values())
        for tensor in (output.logits, output.score, output.features["h"])
    ]
    terms = weigher.terms(student, teachers, batch)
    loss = (weigher.weigh(student, teachers, batch) * torch.arange(4.0)).sum() + sum(t.sum() for t in terms.values())
    if loss.requires_grad:
        loss.backward()
    assert all(leaf.grad is None for leaf in leaves)
    assert all(term.shape == (6,) for term in terms.values())


def test_shifts_of_logits_change_nothing(weigher, world, draw):
    student, teachers, batch = world()
    weigher.build(student, teachers)
    stir(weigher)
    before = weigher.weigh(student, teachers, batch)
    for output in (student, *teachers.values()):
        output.logits = output.logits + draw(6, 1)
    torch.testing.assert_close(weigher.weigh(student, teachers, batch), before)


def test_huge_logits_stay_finite(weigher, world):
    student, teachers, batch = world()
    for output in (student, *teachers.values()):
        output.logits = output.logits * 1e4
    weigher.build(student, teachers)
    weights = weigher.weigh(student, teachers, batch)
    terms = weigher.terms(student, teachers, batch)
    if terms:
        sum(term.sum() for term in terms.values()).backward()
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(1), torch.ones(6, dtype=torch.float64))
    assert all(p.grad.isfinite().all() for p in weigher.parameters() if p.grad is not None)


def test_nobody_to_weigh_is_refused(weigher):
    with pytest.raises(ValueError, match="needs at least one teacher"):
        weigher.weigh(Output(), {}, Batch(target=torch.zeros(1, dtype=torch.int64)))


def test_what_needs_building_says_so(weigher, world):
    student, teachers, batch = world()
    weigher.build(student, teachers)
    if not list(weigher.parameters()):
        return
    with pytest.raises(ValueError, match=r"call build\(student, teachers\) once"):
        type(weigher)(**asdict(weigher.config)).weigh(student, teachers, batch)
    with pytest.raises(ValueError, match="was built for 4 teachers, and now there are large, small"):
        weigher.weigh(student, {name: teachers[name] for name in ("large", "small")}, batch)
