"""Modalities taken away from samples: at random while a student learns, and by choice or at random when it's measured.

Taken away means that `inputs["present"]` says so: what the model makes of that is its own business. Modalities come in
the order of `contract.labels.MODALITIES`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from training.data.composed import SUBSETS
from training.data.task import Inputs, Samples
from training.distillation.outputs import Output
from training.engine.evaluation import outputs_of
from training.engine.feed import stream
from training.engine.metrics import Measures, measure

DROPOUT_RATES: Final = tuple(tenth / 10 for tenth in range(10))
"""At which `dropout_curve` measures."""


def keep_of(subset: str) -> Tensor:
    """Return 1 for each modality in a subset's name ("a-t"), float32 [3]."""
    return torch.tensor([float(letter != "-") for letter in subset])


def subsets_of(samples: Samples) -> tuple[str, ...]:
    """Return the subsets of those modalities that the samples have at all, in the order of `SUBSETS`."""
    has = samples.present.amax(dim=0)
    return tuple(subset for subset in SUBSETS if bool((keep_of(subset) <= has).all()))


def hide(samples: Samples, keep: Tensor) -> Samples:
    """Return the samples with only the modalities in `keep`, 1 or 0, [3] for all or [N, 3] for each.

    A sample that has none of them is left with nothing.
    """
    inputs = {**samples.inputs, "present": samples.inputs["present"] * keep}
    return replace(samples, inputs=inputs, present=samples.present * keep)


def hide_at_random(samples: Samples, rate: float, seed: int = 0) -> Samples:
    """Return the samples with each modality of each taken away with probability `rate`, all of a sample's perhaps.

    With the same seed, what a lower rate takes away, a higher one takes away as well.
    """
    noise = torch.rand(len(samples), 3, generator=stream(seed, "hide_at_random", 0))
    return hide(samples, (noise >= rate).float())


def drop_modalities(inputs: Inputs, rate: float, generator: torch.Generator) -> Inputs:
    """Return a batch's inputs with each modality of each sample taken away with probability `rate`.

    A sample keeps at least one of those that it has, any with the same probability.
    """
    present = inputs["present"]
    noise = torch.rand(present.shape, generator=generator)
    last = torch.where(present > 0, noise, -1.0).argmax(dim=1, keepdim=True)
    keep = (noise >= rate).scatter(1, last, torch.ones_like(last, dtype=torch.bool))
    return {**inputs, "present": present * keep}


def subset_outputs(student: nn.Module, samples: Samples, device: torch.device) -> dict[str, Output]:
    """Return what the student says of every subset of the modalities that the samples have."""
    return {subset: outputs_of(student, hide(samples, keep_of(subset)), device) for subset in subsets_of(samples)}


def dropout_curve(
    student: nn.Module, samples: Samples, labels: Sequence[str], device: torch.device, seed: int = 0
) -> dict[str, Measures]:
    """Return what is measured of the student by the rate ("0.0" to "0.9") at which modalities are missing.

    Which ones are missing is a function of the seed alone, so that students can be compared.
    """

    def measured(rate: float) -> Measures:
        return measure(outputs_of(student, hide_at_random(samples, rate, seed), device), samples, labels)

    return {f"{rate:.1f}": measured(rate) for rate in DROPOUT_RATES}
