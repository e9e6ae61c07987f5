import copy
from dataclasses import replace

import pytest
import torch

from training.distillation import Context, make_step
from training.distillation.steps.reweight import normalised, within_classes

PAPER = {"classes": "free", "even": 0.0}


def by_brute_force(distiller, example, held_out, step=1e-5):
    """For every sample: how the held-out loss falls when the student really steps on that sample's loss a little."""
    usefulness = []
    for i in range(len(example.inputs)):
        values = []
        for eps in (step, -step):
            student = copy.deepcopy(distiller)
            (eps * student(example).per_sample[i]).backward()
            torch.optim.SGD(student.student.parameters(), lr=1.0).step()
            output = student.student.eval()(held_out.inputs)
            values.append(student.task(output, held_out.batch).mean().item())
        usefulness.append(-(values[0] - values[1]) / (2 * step))
    return torch.tensor(usefulness, dtype=torch.float64)


@pytest.mark.parametrize("methods", [{}, {"kd": {}}, {"kd": {}, "rkd": {}}], ids=lambda m: "+".join(m) or "labels")
def test_usefulness_is_what_each_sample_does_to_the_held_out_loss(distill, world, plain, methods):
    distiller = distill(methods)
    step = make_step(plain(distiller), Context(distiller, world), {"reweight": {}})
    example, held_out = world.example(), world.held_out()
    usefulness = step.usefulness(example, held_out)
    expected = by_brute_force(distiller, example, held_out)
    torch.testing.assert_close(usefulness, expected, atol=1e-6, rtol=1e-5)
    assert all(p.grad is None for p in distiller.parameters())


def test_shares():
    useful = torch.tensor([0.3, -2.0, 0.1, 0.0], dtype=torch.float64)
    torch.testing.assert_close(normalised(useful), torch.tensor([0.75, 0.0, 0.25, 0.0], dtype=torch.float64))
    assert normalised(-torch.ones(3)).eq(0).all()


def test_what_a_class_shares_decides_nothing():
    """A head's bias moves the usefulness of a whole class; by the paper's rule all weight is then on the other."""
    useful = torch.tensor([0.3, 0.1, 0.2, 0.6, 0.2, 0.1], dtype=torch.float64)
    target = torch.tensor([0, 0, 1, 1, 1, -1])
    weights = within_classes(useful, target, balanced=False)
    torch.testing.assert_close(within_classes(useful - 5.0 * (target == 0), target, balanced=False), weights)
    torch.testing.assert_close(weights, torch.tensor([2, 0, 0, 3, 0, 1], dtype=torch.float64) / 6)
    balanced = within_classes(useful, target, balanced=True)
    torch.testing.assert_close(balanced, torch.tensor([1, 0, 0, 1, 0, 1], dtype=torch.float64) / 3)


def test_the_student_steps_with_the_shares(distill, world, plain):
    distiller, example = distill(), world.example()
    other = copy.deepcopy(distiller)
    step = make_step(plain(distiller, 0.1), Context(distiller, world), {"reweight": {"batch_size": 20, **PAPER}})
    metrics = step(example)
    shares = normalised(by_brute_force(other, example, world.held_out()))
    plain(other, 0.1)(replace(example, sample_weights=shares))
    for moved, expected in zip(distiller.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(metrics["reweight/used"], (shares > 0).double().mean())


def test_the_student_stands_still_when_nothing_helps(distill, world, plain):
    """Held-out samples whose labels are the opposite of what the batch teaches."""
    distiller = distill({})
    before = copy.deepcopy(distiller.student)
    example = world.example()
    example.inputs = example.inputs[:1].repeat(8, 1)
    example.batch.target = torch.zeros(8, dtype=torch.int64)

    class Opposite:
        def __len__(self):
            return 8

        def fetch(self, indices):
            return replace(example, batch=replace(example.batch, target=torch.ones(8, dtype=torch.int64)))

    metrics = make_step(plain(distiller), Context(distiller, Opposite()), {"reweight": PAPER})(example)
    assert metrics["reweight/used"] == 0
    for was, now in zip(before.parameters(), distiller.student.parameters(), strict=True):
        assert torch.equal(was, now)


def test_wrong_labels_get_less(distill, world, plain):
    distiller = distill({})
    step = make_step(plain(distiller, 0.3), Context(distiller, world), {"reweight": {"batch_size": 20, **PAPER}})
    for example in world.batches(20):
        step(example)
    example = world.example(*range(20))
    example.batch.target = example.batch.target.clone()
    example.batch.target[:6] = (example.batch.target[:6] + 1) % 3
    shares = normalised(step.usefulness(example, world.held_out()))
    assert shares[:6].mean() < 0.3 * shares[6:].mean()


def test_what_it_cannot_work_with_is_refused(distill, world, plain):
    distiller = distill()
    with pytest.raises(ValueError, match="'reweight' needs held-out samples"):
        make_step(plain(distiller), Context(distiller), {"reweight": {}})
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        make_step(plain(distiller), Context(distiller, world), {"reweight": {"batch_size": 0}})
