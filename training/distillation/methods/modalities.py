"""What an output says about single modalities: which it has, for which samples, and their representations.

Knows nothing of losses. Names and order are those of `contract.labels.MODALITIES`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import pairs_of, pooled
from training.distillation.outputs import Output

FUSED = "penultimate"
"""The feature of all modalities together."""


def modalities_of(output: Output) -> tuple[str, ...]:
    """Return the modalities that the output has a representation of; none for a unimodal model."""
    return tuple(modality for modality in MODALITIES if modality in output.features)


def require_modalities(method: str, who: str, output: Output) -> tuple[str, ...]:
    """Return the modalities; raises ValueError where there are none."""
    found = modalities_of(output)
    if not found:
        raise ValueError(
            f"{method} needs a feature of at least one modality ({', '.join(MODALITIES)}), and {who} gives "
            f"{', '.join(output.features) or 'none'}; choose a multimodal model, or the method `cmd`"
        )
    return found


def fused_layer(output: Output) -> str | None:
    """Return the name of the feature of all modalities together: `penultimate`, else the last one; None without any."""
    return FUSED if FUSED in output.features else next(reversed(output.features), None)


def fused_pairs(method: str, student: Output, teachers: Mapping[str, Output]) -> Layers:
    """Return the pairs of fused features, teacher by teacher; raises ValueError for outputs without features."""
    pairs_of(method, (), student, teachers)
    return tuple((str(fused_layer(student)), f"{name}:{fused_layer(teacher)}") for name, teacher in teachers.items())


def rows_with(output: Output, layer: str) -> Tensor:
    """Whether each sample has what the layer stands for, bool [B]: its modality, or for other layers any modality."""
    count, device = len(output.features[layer]), output.features[layer].device
    if output.present is None:
        return torch.ones(count, dtype=torch.bool, device=device)
    present = output.present > 0
    return present[:, MODALITIES.index(layer)] if layer in MODALITIES else present.any(1)


def representation(output: Output, layer: str) -> Tensor:
    """Return a layer as vectors [B, D]; 0 for the samples that lack it, whatever stands there, NaN included."""
    vectors = pooled(output.features[layer], output.masks.get(layer))
    return torch.where(rows_with(output, layer).unsqueeze(1), vectors, 0.0)
