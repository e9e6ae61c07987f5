"""What weighers read from outputs: logits, pooled features, errors against the labels; how blame becomes weight."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from training.distillation.methods.matching import pooled
from training.distillation.methods.responses import require_teachers
from training.distillation.outputs import Batch, Output


def rows(weigher: str, student: Output, teachers: Mapping[str, Output]) -> Tensor:
    """Return any tensor of the outputs: its length is the number of samples, and it has their device and type.

    Raises:
        ValueError: there are no teachers, or the outputs are empty.
    """
    require_teachers(weigher, teachers)
    for output in (*teachers.values(), student):
        for tensor in (output.logits, output.score, *output.features.values()):
            if tensor is not None:
                return tensor
    raise ValueError(f"{weigher}: the outputs have neither logits nor a score nor features")


def require_built(weigher: str, built_for: int, teachers: Mapping[str, Output]) -> None:
    """Raise ValueError unless there are teachers, and as many as the weigher was built for (0: not built)."""
    require_teachers(weigher, teachers)
    if built_for == 0:
        raise ValueError(f"{weigher}: call build(student, teachers) once, before the optimiser is made")
    if built_for != len(teachers):
        raise ValueError(f"{weigher} was built for {built_for} teachers, and now there are {', '.join(teachers)}")


def stacked_logits(weigher: str, teachers: Mapping[str, Output]) -> Tensor:
    """Return the teachers' logits as [B, K, C], without gradient.

    Raises:
        ValueError: no teachers, a teacher without logits, or different classes; says what to change.
    """
    require_teachers(weigher, teachers)
    logits = {name: output.logits.detach() for name, output in teachers.items() if output.logits is not None}
    missing = [name for name in teachers if name not in logits]
    if missing:
        raise ValueError(
            f"{weigher} needs the logits of every teacher, and {', '.join(missing)} gives none; train a head on it"
        )
    if len({item.shape for item in logits.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(item.shape)}" for name, item in logits.items())
        raise ValueError(f"{weigher} needs the same samples and classes from every teacher, got logits {shapes}")
    return torch.stack(list(logits.values()), dim=1)


def vector(weigher: str, who: str, output: Output, layer: str, pooling: Literal["mean", "max"] = "mean") -> Tensor:
    """Return the feature `layer` ("" for the last) as [B, D], without gradient, over the positions that are there.

    Raises:
        ValueError: there is no such layer; says which there are.
    """
    if not output.features or (layer and layer not in output.features):
        there = ", ".join(output.features) or "none"
        raise ValueError(f"{weigher}: {who} has no feature {layer!r}: it has {there}; name another layer")
    name = layer or list(output.features)[-1]
    feature, mask = output.features[name].detach(), output.masks.get(name)
    if pooling == "mean" or feature.ndim == 2:
        return pooled(feature, mask)
    if feature.ndim == 4:
        return feature.amax((2, 3))
    if mask is None:
        return feature.amax(1)
    highest = feature.masked_fill((mask <= 0).unsqueeze(-1), float("-inf")).amax(1)
    return torch.where(highest.isfinite(), highest, 0.0)


def errors(weigher: str, teachers: Mapping[str, Output], batch: Batch) -> Tensor:
    """Return how wrong each teacher is, [B, K]: cross entropy of its logits, or squared error of its score.

    Where a sample has no label (target -1, score NaN) no teacher is wrong: 0.

    Raises:
        ValueError: no teachers, or no labels of the kind that every teacher answers with.
    """
    require_teachers(weigher, teachers)
    scores = [output.score.detach() for output in teachers.values() if output.score is not None]
    if batch.score is not None and len(scores) == len(teachers) and batch.target is None:
        difference = torch.stack(scores, dim=1) - batch.score[:, None]
        return torch.where(batch.score.isnan()[:, None], 0.0, difference).square()
    if batch.target is None:
        raise ValueError(
            f"{weigher} asks who is right: it needs a target, or a score and teachers that all give scores"
        )
    return cross_entropies(stacked_logits(weigher, teachers), batch.target)


def cross_entropies(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy [B, K] of logits [B, K, C] with class indices [B]; 0 where the target is -1."""
    targets = target[:, None].expand(-1, logits.shape[1])
    return functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-1, reduction="none")


def complement(shares: Tensor) -> Tensor:
    """Turn shares of blame [B, K], rows sum to 1, into weights (1 - share) / (K - 1); one teacher has weight 1."""
    teachers = shares.shape[-1]
    return (1 - shares) / (teachers - 1) if teachers > 1 else torch.ones_like(shares)
