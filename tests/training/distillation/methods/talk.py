"""Toy outputs of multimodal models over conversations, in float64."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.distillation.outputs import Batch, Output

PRESENT = torch.tensor(
    [[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]], dtype=torch.float64
)
"""Seven utterances: two complete ones, and five that each lack something else."""
UNIT = torch.tensor([4, 4, 4, 9, 9, 1, 1])


def speaker(draw: Callable[..., Tensor], width: int, present: Tensor | None = None, heard: tuple[str, ...] = MODALITIES,
            classes: int = 3) -> Output:  # fmt: skip
    """A model that reads the modalities `heard`, all of one width; the fused feature is wider by one."""
    reads = torch.tensor([modality in heard for modality in MODALITIES])
    present = (torch.ones_like(PRESENT) if present is None else present) * reads
    count = len(present)
    output = Output(logits=draw(count, classes), score=draw(count).tanh(), present=present)
    for modality in heard:
        there = present[:, MODALITIES.index(modality), None]
        output.features[modality] = draw(count, width) * there
        output.features[f"{modality}.logits"] = draw(count, classes) * there
    output.features["penultimate"] = draw(count, width + 1)
    return output


def labels(draw: Callable[..., Tensor], classes: int = 3) -> Batch:
    count = len(UNIT)
    return Batch(torch.arange(count) % classes, draw(count).tanh(), torch.arange(count), unit=UNIT)


def spoilt(output: Output) -> Output:
    """The same with NaN where the sample lacks the modality."""
    assert output.present is not None
    features = dict(output.features)
    for place, modality in enumerate(MODALITIES):
        if modality in features:
            features[modality] = torch.where(output.present[:, place, None] > 0, features[modality], math.nan)
    return replace(output, features=features)


def rows(output: Output, index: Tensor) -> Output:
    """The samples at `index`."""
    return Output(
        None if output.logits is None else output.logits[index],
        None if output.score is None else output.score[index],
        features={name: feature[index] for name, feature in output.features.items()},
        masks={name: mask[index] for name, mask in output.masks.items()},
        present=None if output.present is None else output.present[index],
    )


def leaves(output: Output) -> Output:
    """The same with features, logits and score as leaves that require gradients."""

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_()

    assert output.logits is not None
    assert output.score is not None
    features = {name: leaf(feature) for name, feature in output.features.items()}
    return replace(output, logits=leaf(output.logits), score=leaf(output.score), features=features)
