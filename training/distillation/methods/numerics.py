"""Norms, directions and distances whose gradients stay finite at zero. Knows nothing of students and teachers."""

import torch
from torch import Tensor
from torch.nn import functional

FLOOR = 1e-12
"""Vectors shorter than this count as zero: they have length 0, no direction, and no gradient."""


def length(x: Tensor, dim: int = -1, keepdim: bool = False) -> Tensor:
    """Euclidean norm along `dim`; 0 with gradient 0 at zero, where that of `norm` is undefined."""
    squared = x.square().sum(dim, keepdim=keepdim)
    positive = squared > FLOOR**2
    # Two `where`s: a gradient through the untaken branch would be 0 * inf.
    return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)


def unit(x: Tensor, dim: int = -1) -> Tensor:
    """Divide by the norm along `dim`; zero vectors stay zero, with gradient 0."""
    size = length(x, dim, keepdim=True)
    return torch.where(size > 0, x / torch.where(size > 0, size, 1.0), 0.0)


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Correlation along the last axis, [...]; 0 where either is constant."""
    return (unit(x - x.mean(-1, keepdim=True)) * unit(y - y.mean(-1, keepdim=True))).sum(-1)


def kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) over the last axis, [...]: a sum over classes, not a mean."""
    log_teacher, log_student = teacher.log_softmax(-1), student.log_softmax(-1)
    return functional.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(-1)


def off_diagonal(x: Tensor) -> Tensor:
    """[B, B] -> [B, B - 1]: each row without its own column."""
    size = len(x)
    return x.flatten()[1:].view(size - 1, size + 1)[:, :-1].reshape(size, size - 1)


def masked_row_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the rows of [B, N] over the columns of mask [B, N], [B]; 0 for a row that has none."""
    return torch.where(mask, x, 0.0).sum(1) / mask.sum(1).clamp_min(1)
