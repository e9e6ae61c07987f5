"""Named terms and weights become one loss per sample.

Knows nothing of methods and weighers beyond the names of terms: `term/teacher` belongs to one teacher, `term` to all.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from training.distillation.methods.base import Terms


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
        _, slash, teacher = name.partition("/")  # A teacher's name may have slashes of its own: hf:OWNER/NAME.
        if slash and teacher not in column:
            raise ValueError(f"term {name!r} belongs to no teacher: there are {', '.join(column)}")
        parts.append(term * weights[:, column[teacher]] if slash else term)
    return torch.stack(parts).sum(dim=0)
