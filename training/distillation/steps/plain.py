"""The step that moves the student: forward, backward, clip, optimiser. Every other step ends in this one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.distillation.distiller import Losses
from training.distillation.example import Example
from training.distillation.steps.base import Metrics


class Plain:
    """One optimiser step on task, matching and auxiliary loss."""

    name = "plain"

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip_norm: float = 1.0,
        backward: Callable[[Tensor], None] = torch.autograd.backward,
        clip: Callable[[Sequence[nn.Parameter], float], Tensor] = nn.utils.clip_grad_norm_,
    ) -> None:
        """Bind the step to what it moves.

        Args:
            model: the Distiller, or its wrapping by DistributedDataParallel or Accelerate.
            optimizer: of `distiller.learnt_by_loss()`.
            clip_norm: the gradient's greatest norm; 0: not clipped.
            backward, clip: `accelerator.backward` and `accelerator.clip_grad_norm_` where Accelerate scales gradients.
        """
        self.model = model
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.backward = backward
        self.clip = clip

    def __call__(self, example: Example) -> Metrics:
        """Move the student by one example."""
        # The model's, not the optimiser's: the parameters of meta-learned weighers get gradients here, too.
        self.model.zero_grad(set_to_none=True)
        losses: Losses = self.model(example)
        loss = losses.scalar(example.sample_weights)
        self.backward(loss)
        moved = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = self.clip(moved, self.clip_norm or float("inf"))
        self.optimizer.step()
        return _metrics(losses) | {"loss": loss.detach(), "gradient_norm": norm.detach()}

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: model and optimiser are saved by the loop."""
        return {"step": self.name}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Check that the checkpoint ends here, too.

        Raises:
            ValueError: the checkpoint was written by other steps.
        """
        if state.get("step") != self.name:
            raise ValueError(f"the checkpoint has the step {state.get('step')!r} where this run has {self.name!r}")


def _metrics(losses: Losses) -> Metrics:
    """The means over the batch, and as `weight_std/TEACHER` how much weights differ by sample."""
    tensors = {"task": losses.task, "matching": losses.matching, **losses.terms, **losses.weights}
    means = {name: tensor.detach().mean() for name, tensor in tensors.items()}
    spreads = {
        name.replace("weight/", "weight_std/", 1): tensor.detach().std(correction=0)
        for name, tensor in losses.weights.items()
    }
    return means | spreads
