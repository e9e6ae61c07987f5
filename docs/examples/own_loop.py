"""Distillation in a plain PyTorch loop, between two models that know nothing of this package.

`attention` and `fitnet` match maps in the middle, `crd` the pooled vectors, `dkd` the logits; all are taken from the
models by forward hooks.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.distillation import METHODS, Batch, observed

LAYERS = ("layer1", "layer2", "avgpool")


def distil(student: nn.Module, teacher: nn.Module, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> list[float]:
    """Train the student on batches of (images [B, 3, H, W], classes [B], sample numbers [B]); return the losses."""
    methods = nn.ModuleDict(
        {
            "attention": METHODS["attention"](layers=[("layer1", "layer1"), ("layer2", "layer2")], weight=100.0),
            "fitnet": METHODS["fitnet"](layers=[("layer2", "layer2")], weight=1.0),
            "crd": METHODS["crd"](layers=[("avgpool", "avgpool")]),
            "dkd": METHODS["dkd"](),
        }
    )
    teacher.eval()
    losses, optimizer = [], None
    for images, classes, numbers in batches:
        with torch.no_grad():
            theirs = {"teacher": observed(teacher, LAYERS, images)}
        ours = observed(student, LAYERS, images)
        if optimizer is None:
            for method in methods.values():
                method.build(ours, theirs)
            optimizer = torch.optim.AdamW([*student.parameters(), *methods.parameters()], lr=3e-3)
        batch = Batch(target=classes, index=numbers)
        terms = [term for method in methods.values() for term in method(ours, theirs, batch).values()]
        loss = nn.functional.cross_entropy(ours.logits, classes) + torch.stack(terms).mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
