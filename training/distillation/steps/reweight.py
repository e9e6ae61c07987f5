"""Samples count as far as learning from them lowers the loss on held-out samples (L2R).

Ren, Zeng, Yang, Urtasun, *Learning to Reweight Examples for Robust Deep Learning*, ICML 2018, algorithm 1:

    theta'(eps) = theta - a grad_theta sum_i eps_i f_i(theta)
    u_i = -d/d eps_i L_held_out(theta'(eps)) at eps = 0,    w_i = max(u_i, 0) / sum_j max(u_j, 0)

f_i: task and matching loss of sample i; w_i replaces the mean's 1 / B in the next step. At eps = 0 the student has not
moved, so u_i = a <grad L_held_out, grad f_i>, and a cancels in w: no lookahead has to be built, one gradient of a
scalar product does it exactly. Where no sample helps, all weights are 0 and the student stands still for a step, as in
the paper.

Differences to the authors' code: it unrolls its nets by hand in TensorFlow with momentum left out, as here; it knows
labels alone, here a sample's loss has the methods' terms as well. The held-out gradient is taken without dropout.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.distillation.example import Example
from training.distillation.methods import checks
from training.distillation.steps.base import Metrics, OuterStep
from training.distillation.steps.lookahead import held_out_loss, losses_at, student_parameters, twice_differentiable


@dataclass(frozen=True)
class ReweightConfig:
    """Hyper-parameters of `reweight`."""

    batch_size: int = 64
    """Held-out samples that the training samples are judged by at each step."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        checks.count(self, "batch_size")
        checks.count(self, "seed", least=0)


def normalised(usefulness: Tensor) -> Tensor:
    """Return max(u, 0) / sum max(u, 0), [B]; all 0 where nothing is useful."""
    positive = usefulness.clamp(min=0)
    whole = positive.sum()
    return torch.where(whole > 0, positive / torch.where(whole > 0, whole, 1.0), 0.0)


class Reweight(OuterStep):
    """The weights of the samples, then the next step with them."""

    name = "reweight"
    paper = "Ren, Zeng, Yang, Urtasun: Learning to Reweight Examples for Robust Deep Learning, ICML 2018 (L2R)"
    equation = (
        "w_i = max(u_i, 0) / sum_j max(u_j, 0), u_i = -d/d eps_i L_held_out(theta - a grad sum_i eps_i f_i) at eps = 0"
    )
    needs = frozenset({"target"})
    Config = ReweightConfig

    def __call__(self, example: Example) -> Metrics:
        """Train on the example with its samples weighed."""
        judges = self.held_out.fetch(self.draw(self.config.batch_size))
        usefulness = self.usefulness(example, judges)
        weights = normalised(usefulness)
        metrics = self.next_step(replace(example, sample_weights=weights))
        return metrics | {"reweight/used": (weights > 0).to(weights.dtype).mean()}

    def usefulness(self, example: Example, held_out: Example) -> Tensor:
        """Return <grad L_held_out, grad f_i> for every sample of the example, [B]."""
        parameters = student_parameters(self.distiller)
        values = tuple(parameters.values())
        loss = held_out_loss(self.distiller, parameters, held_out).mean()
        wanted = torch.autograd.grad(loss, values, allow_unused=True)
        with twice_differentiable(self.distiller):
            samples = losses_at(self.distiller, parameters, example).per_sample
            eps = torch.zeros_like(samples, requires_grad=True)
            moves = torch.autograd.grad(samples @ eps, values, create_graph=True, allow_unused=True)
            products = [(w * m).sum() for w, m in zip(wanted, moves, strict=True) if w is not None and m is not None]
            (usefulness,) = torch.autograd.grad(torch.stack(products).sum(), eps)
        return usefulness
