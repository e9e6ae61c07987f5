"""Named terms and weights become one loss per sample.

Knows nothing of methods and weighers beyond the names of terms: `term/teacher` belongs to one teacher, `term` to all.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from training.methods.base import Terms
from training.methods.streams import there
from training.outputs import Output


def total(terms: Terms, weights: Tensor, teachers: Iterable[str]) -> Tensor:
    """Add the terms, each `term/teacher` multiplied by the weight of its teacher: sum_k w[:, k] term_k + others.

    Args:
        terms: unreduced terms, each [B].
        weights: [B, K].
        teachers: the K names that the columns of `weights` stand for.

    Returns:
        [B].

    Raises:
        ValueError: a term names a teacher that has no column, or there are no terms at all.
    """
    column = {teacher: k for k, teacher in enumerate(teachers)}
    if weights.ndim != 2 or weights.shape[1] != len(column):
        raise ValueError(f"weights of {len(column)} teachers must be [B, {len(column)}], got {list(weights.shape)}")
    if not terms:
        raise ValueError("there are no terms to add: the method returned an empty mapping")
    parts = []
    for name, term in terms.items():
        _, slash, teacher = name.rpartition("/")
        if slash and teacher not in column:
            raise ValueError(f"term {name!r} belongs to no teacher: there are {', '.join(column)}")
        parts.append(term * weights[:, column[teacher]] if slash else term)
    return torch.stack(parts).sum(dim=0)


def among_present(weights: Tensor, sources: Mapping[str, Output]) -> Tensor:
    """Give the weights [B, K] of sources that a sample lacks to its others, in proportion: rows still sum to 1.

    They are equal where the others had none, and all 0 for a sample that lacks every source.
    """
    present = torch.stack([there(source, weights) for source in sources.values()], dim=1)
    kept = torch.where(present, weights, 0.0)
    whole = kept.sum(dim=1, keepdim=True)
    even = present.to(weights.dtype) / present.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.where(whole > 0, kept / torch.where(whole > 0, whole, 1.0), even)
