"""What a student says about a whole split. Knows no labels and no metrics."""

import torch
from torch import nn

from training.data.task import Samples
from training.data.units import Units
from training.distillation.outputs import Output

_BATCH = 256


@torch.inference_mode()
def outputs_of(student: nn.Module, samples: Samples, device: torch.device) -> Output:
    """Return the student's logits, score and heads for all samples, on the CPU, in evaluation mode and full precision.

    Conversations are never split.
    """
    was_training = student.training
    student.eval()
    parts: list[Output] = [
        student({name: tensor[rows].to(device) for name, tensor in samples.inputs.items()})
        for rows in Units.of(samples.unit, torch.arange(len(samples))).chunks(_BATCH)
    ]
    student.train(was_training)
    logits = [part.logits.float().cpu() for part in parts if part.logits is not None]
    scores = [part.score.float().cpu() for part in parts if part.score is not None]
    heads = {name: torch.cat([part.heads[name].float().cpu() for part in parts]) for name in parts[0].heads}
    return Output(torch.cat(logits) if logits else None, torch.cat(scores) if scores else None, heads=heads)
