import copy
import math

import pytest
import torch

from tests.training.distillation.toy import World
from training.distillation import Context, make_step


def really_stepped(distiller, example, held_out, config):
    """The held-out loss after steps that an optimiser makes on a copy: what the outer loss looks ahead to."""
    student = copy.deepcopy(distiller)
    optimizer = torch.optim.SGD(student.student.parameters(), lr=config.inner_rate)
    for _ in range(config.inner_steps):
        student.zero_grad()
        losses = student(example)
        (losses.matching if config.inner == "matching" else losses.per_sample).mean().backward()
        torch.nn.utils.clip_grad_norm_(student.student.parameters(), config.inner_clip or float("inf"))
        optimizer.step()
    weights = torch.stack([distiller(example).weights[f"weight/{name}"] for name in example.teachers], dim=1)
    uneven = sum((math.log(0.25 / w) / 4 for row in weights.tolist() for w in row), 0.0) / len(weights)
    loss = student.task(student.student.eval()(held_out.inputs), held_out.batch).mean().item()
    return loss + config.evenness * uneven


def check_by_differences(function, loss, parameters, directions=6, step=1e-5):
    """Compare the gradient of `loss` with central differences of the same function of the parameters."""
    gradients = torch.autograd.grad(loss, parameters)
    draw = torch.Generator().manual_seed(0)
    largest = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt().item()
    assert largest > 1e-6
    for _ in range(directions):
        moves = [torch.randn(p.shape, generator=draw, dtype=p.dtype) for p in parameters]
        slope = sum((gradient * move).sum().item() for gradient, move in zip(gradients, moves, strict=True))
        values = [at(function, parameters, moves, sign * step) for sign in (1, -1)]
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=5e-5, abs=1e-7 * largest)


def at(function, parameters, moves, step):
    """The value of a function with its parameters moved for the while."""
    kept = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, move in zip(parameters, moves, strict=True):
            parameter += step * move
    value = function()
    with torch.no_grad():
        for parameter, was in zip(parameters, kept, strict=True):
            parameter.copy_(was)
    return value


@pytest.mark.parametrize(
    "options",
    [
        {"inner_clip": 0.0},
        {"inner_clip": 0.1},
        {"inner_clip": 0.0, "inner_steps": 2, "inner": "full"},
    ],
    ids=["plain", "clipped", "two steps on everything"],
)
@pytest.mark.parametrize("methods", [{"kd": {}}, {"kd": {}, "rkd": {}}], ids="+".join)
def test_the_outer_gradient_is_that_of_the_held_out_loss_after_the_step(distill, world, plain, options, methods):
    distiller = distill(methods, {"name": "meta", "hidden": 3})
    with torch.no_grad():
        for parameter in distiller.weigher.parameters():
            parameter.normal_()
        # With several steps the weigher would see a student that has moved, and takes it for a constant.
        distiller.weigher.net[0].weight[:, -3:] = 0
    step = make_step(plain(distiller), Context(distiller, world), {"meta": {"inner_rate": 0.2, **options}})
    example, held_out = world.example(), world.held_out()
    loss = step.outer_loss(example, held_out)
    assert loss.item() == pytest.approx(really_stepped(distiller, example, held_out, step.config), rel=1e-6)
    check_by_differences(lambda: really_stepped(distiller, example, held_out, step.config), loss, step.learnt)


def test_the_weights_move_every_few_steps_and_the_student_at_every_one(distill, world, plain):
    distiller = distill(weigher={"name": "meta"})
    step = make_step(plain(distiller, 0.01), Context(distiller, world), {"meta": {"every": 3, "batch_size": 8}})
    moved = []
    for example in world.batches(7):
        weigher, student = copy.deepcopy(distiller.weigher), copy.deepcopy(distiller.student)
        metrics = step(example)
        moved.append(different(weigher, distiller.weigher))
        assert different(student, distiller.student)
        assert ("meta/outer_loss" in metrics) == moved[-1]
    assert moved == [False, False, True, False, False, True, False]


def different(one, other):
    """Whether any parameter differs."""
    return any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_outer_step_leaves_student_and_adapters_alone(distill, world, plain):
    """A student that has been stepped with and without the outer step is the same as long as the weights are."""
    runs = []
    for every in (1, 1000):
        distiller = distill({"fitnet": {}, "kd": {}}, {"name": "meta"}, normalised=True)
        step = make_step(plain(distiller, 0.01), Context(distiller, world), {"meta": {"every": every}})
        step(world.example())
        runs.append({n: v for n, v in distiller.state_dict().items() if not n.startswith("weigher.")})
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_equal_teachers_stay_equal(distill, world, plain):
    for output in world.teachers.values():
        output.logits = world.teachers["t0"].logits
    distiller = distill(weigher={"name": "meta"})
    step = make_step(plain(distiller, 0.01), Context(distiller, world), {"meta": {"every": 1}})
    for example in world.batches(5):
        metrics = step(example)
        for k in range(4):
            assert metrics[f"weight/t{k}"].item() == pytest.approx(0.25)


def test_hard_samples_are_those_answered_wrongly(distill, world, plain):
    distiller = distill(weigher={"name": "meta"})
    options = {"every": 1, "buffer_size": 4, "batch_size": 20}
    step = make_step(plain(distiller, 0.0), Context(distiller, world), {"meta": options})
    for example in world.batches(10):
        step(example)
    held_out = world.held_out()
    wrong = distiller.student(held_out.inputs).logits.argmax(1) != held_out.batch.target
    assert wrong.sum() > 4
    assert all(wrong[index] for index in step.buffer.indices)


class Talks(World):
    """Its held-out samples are utterances of five conversations of 1, 7, 2, 6 and 4."""

    ends = (1, 8, 10, 16, 20)

    def __len__(self):
        return len(self.ends)

    def fetch(self, indices):
        rows = [row for i in indices for row in range((0, *self.ends)[i], self.ends[i])]
        example = super().fetch(rows)
        example.batch.unit = torch.tensor([sum(row >= end for end in self.ends) for row in rows])
        return example


def test_a_conversation_is_hard_where_an_utterance_is(distill, plain):
    world = Talks()
    distiller = distill(weigher={"name": "meta"})
    options = {"every": 1, "buffer_size": 2, "batch_size": 5}
    step = make_step(plain(distiller, 0.0), Context(distiller, world), {"meta": options})
    for example in world.batches(30):
        step(example)
    talks = [world.fetch([i]) for i in range(5)]
    hard = [bool((distiller.student(talk.inputs).logits.argmax(1) != talk.batch.target).any()) for talk in talks]
    assert 3 <= sum(hard) < 5
    assert all(hard[index] for index in step.buffer.indices)


def test_what_it_cannot_work_with_is_refused(distill, world, plain):
    distiller = distill(weigher={"name": "meta"})
    with pytest.raises(ValueError, match="'meta' needs held-out samples: set a part of the training split aside"):
        make_step(plain(distiller), Context(distiller))
    uniform = distill()
    with pytest.raises(ValueError, match="has nothing to learn: choose a meta-learned weigher"):
        make_step(plain(uniform), Context(uniform, world), {"meta": {}})
    for wrong in (
        {"every": 0},
        {"inner_rate": 0.0},
        {"inner": "labels"},
        {"learning_rate": -1.0},
        {"inner_clip": -1},
        {"evenness": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make_step(plain(distiller), Context(distiller, world), {"meta": wrong})
