import copy

import pytest
import torch
from torch import nn

from training.distillation.distiller import Distiller
from training.distillation.outputs import Output
from training.distillation.steps.lookahead import (
    evaluating,
    gradients_of,
    held_out_loss,
    losses_at,
    step_ahead,
    student_parameters,
    twice_differentiable,
)


def test_a_step_ahead_is_that_of_sgd(distill, world):
    """With the gradient clipped as `clip_grad_norm_` does."""
    for clip_norm in (0.0, 0.05, 1e3):
        distiller, example = distill(), world.example()
        parameters = student_parameters(distiller)
        ahead = step_ahead(parameters, losses_at(distiller, parameters, example).matching.mean(), 0.3, clip_norm)
        real = copy.deepcopy(distiller)
        optimizer = torch.optim.SGD(real.student.parameters(), lr=0.3)
        real(example).matching.mean().backward()
        nn.utils.clip_grad_norm_(real.student.parameters(), clip_norm or float("inf"))
        optimizer.step()
        for name, parameter in real.student.named_parameters():
            torch.testing.assert_close(ahead[f"student.{name}"], parameter, atol=1e-7, rtol=1e-5)
        expected = real.task(real.student.eval()(world.held_out().inputs), world.held_out().batch)
        torch.testing.assert_close(held_out_loss(distiller, ahead, world.held_out()), expected, atol=1e-7, rtol=1e-5)


def test_looking_leaves_no_trace(distill, world):
    """Neither running means nor queues nor modes nor gradients: a batch must not be seen twice."""
    distiller = distill({"crd": {"queue": 16}, "kd": {}}, {"name": "meta"}, normalised=True, dropout=0.5)
    distiller.student.drop.eval()
    before = copy.deepcopy(distiller.state_dict())
    parameters = student_parameters(distiller)
    ahead = step_ahead(parameters, losses_at(distiller, parameters, world.example()).per_sample.mean(), 0.3, 1.0)
    held_out_loss(distiller, ahead, world.held_out()).mean()
    after = distiller.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in distiller.parameters())
    assert (distiller.student.training, distiller.student.drop.training) == (True, False)
    distiller(world.example())
    after = distiller.state_dict()
    assert not torch.equal(before["student.norm.running_mean"], after["student.norm.running_mean"])


def test_frozen_parameters_stay(distill):
    distiller = distill()
    distiller.student.first.requires_grad_(False)
    assert set(student_parameters(distiller)) == {"student.last.weight", "student.last.bias"}


def test_gradients_replace_what_was_there():
    used, unused = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
    used.grad = torch.tensor(100.0)
    gradients_of(used.square(), [used, unused])
    assert (used.grad.item(), unused.grad.item()) == (4.0, 0.0)


def test_modes_come_back_even_after_an_error(distill):
    student = distill().student
    student.last.eval()
    with pytest.raises(RuntimeError, match="mat1 and mat2"), evaluating(student):
        student(torch.zeros(1, 99).double())
    assert (student.training, student.first.training, student.last.training) == (True, True, False)


class Sequences(nn.Module):
    """A student with the layers whose fast kernels have no second derivative."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(8, 3)

    def forward(self, inputs):
        hidden = self.layer(inputs)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return Output(self.head(hidden.mean(1)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        nn.GRU(8, 8, batch_first=True),
        nn.LSTM(8, 8, batch_first=True),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_attention_and_recurrence_can_be_differentiated_twice(layer, world):
    distiller = Distiller(Sequences(layer))
    example = world.example()
    example.inputs, example.teachers = torch.randn(8, 5, 8), {}
    scale = torch.ones((), requires_grad=True)
    with twice_differentiable(distiller):
        parameters = student_parameters(distiller)
        loss = scale * losses_at(distiller, parameters, example).task.mean()
        ahead = step_ahead(parameters, loss, 0.1, 0.0)
        (gradient,) = torch.autograd.grad(held_out_loss(distiller, ahead, example).mean(), scale)
    assert gradient.item() < 0
