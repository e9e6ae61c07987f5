"""The student one step ahead, as a function of what decides about that step: the tools of every outer step.

    theta' = theta - rate grad_theta L(theta; phi),    dL_held_out(theta') / d phi  through that gradient

Nothing here moves a parameter or a buffer: the distiller runs on tensors that are handed in, and on copies of its
buffers, so that running means and queues do not see a batch twice.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.distillation.distiller import Distiller, Losses
from training.distillation.example import Example

_STUDENT = "student."


def student_parameters(distiller: Distiller) -> dict[str, Tensor]:
    """Return the student's trainable parameters by their names in the distiller."""
    named = distiller.named_parameters()
    return {name: p for name, p in named if name.startswith(_STUDENT) and p.requires_grad}


def losses_at(distiller: Distiller, parameters: Mapping[str, Tensor], example: Example) -> Losses:
    """Return the losses of an example with the student at `parameters`."""
    buffers = {name: buffer.clone() for name, buffer in distiller.named_buffers()}
    losses: Losses = functional_call(distiller, {**buffers, **parameters}, (example,))
    return losses


def held_out_loss(distiller: Distiller, parameters: Mapping[str, Tensor], example: Example) -> Tensor:
    """Return the task's loss [B] of held-out samples with the student at `parameters`, without dropout."""
    own = {name.removeprefix(_STUDENT): parameter for name, parameter in parameters.items()}
    with evaluating(distiller.student):
        output = functional_call(distiller.student, own, (example.inputs,)).lifted()
    return distiller.task(output, example.batch)


def step_ahead(parameters: Mapping[str, Tensor], loss: Tensor, rate: float, clip_norm: float) -> dict[str, Tensor]:
    """Return the parameters one gradient step further, differentiable in all that the loss depends on.

    Args:
        parameters: where the step begins.
        loss: scalar.
        rate: size of the step.
        clip_norm: the gradient's greatest norm, so that terms of any scale are looked ahead with; 0: not clipped.
    """
    gradients = torch.autograd.grad(loss, tuple(parameters.values()), create_graph=True, allow_unused=True)
    factor = rate * _clipping([gradient for gradient in gradients if gradient is not None], clip_norm)
    pairs = zip(parameters.items(), gradients, strict=True)
    return {name: p if gradient is None else p - factor * gradient for (name, p), gradient in pairs}


def gradients_of(loss: Tensor, parameters: list[nn.Parameter]) -> None:
    """Write the gradient of `loss` into `parameters`, averaged over the processes of a distributed run."""
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()


def _clipping(gradients: list[Tensor], clip_norm: float) -> Tensor | float:
    """What clipping multiplies the gradients by; a function of them, as the length of the step is."""
    if not clip_norm:
        return 1.0
    squared = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
    # Below the limit the norm plays no part; at 0 its own gradient would not be finite.
    return clip_norm / squared.clamp(min=clip_norm**2).sqrt()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and every part of it back into its own mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def twice_differentiable(module: nn.Module) -> Iterator[None]:
    """Choose kernels whose gradients have gradients: fused attention has none, nor have cuDNN's recurrent nets."""
    recurrent = any(isinstance(part, nn.RNNBase) for part in module.modules())
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if recurrent and torch.cuda.is_available():
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield
