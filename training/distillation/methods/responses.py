"""What response methods read: pairs of logits, and their usual distance; checked, or refused with what to change."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from training.distillation.methods.numerics import kl
from training.distillation.outputs import Output


def logit_pairs(method: str, student: Output, teachers: Mapping[str, Output]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (teacher, student logits [B, C], teacher logits [B, C]).

    Raises:
        ValueError: no teacher, no logits, a single logit, or different classes.
    """
    require_teachers(method, teachers)
    of_student = _logits(method, "the student", student)
    for name, teacher in teachers.items():
        of_teacher = _logits(method, f"teacher {name!r}", teacher)
        if of_teacher.shape != of_student.shape:
            raise ValueError(
                f"{method}: the logits of the student are {tuple(of_student.shape)}, those of teacher {name!r} "
                f"{tuple(of_teacher.shape)}; both need the same samples and the same classes in the same order"
            )
        yield name, of_student, of_teacher


def responses(method: str, student: Output, teachers: Mapping[str, Output], temperature: float) -> dict[str, Tensor]:
    """Return teacher -> T^2 KL of the logits plus the squared difference of the scores, [B], whichever both sides give.

    The temperature is for classes alone: a score has no softmax for it to soften.

    Raises:
        ValueError: no teacher, neither logits nor a score on both sides, or logits that don't fit.
    """
    require_teachers(method, teachers)
    terms = {}
    for name, teacher in teachers.items():
        parts = []
        if student.logits is not None and teacher.logits is not None:
            ((_, z_s, z_t),) = logit_pairs(method, student, {name: teacher})
            parts.append(temperature**2 * kl(z_t / temperature, z_s / temperature))
        if student.score is not None and teacher.score is not None:
            parts.append((student.score - teacher.score).square())
        if not parts:
            raise ValueError(f"{method} needs logits or a score, and the student and teacher {name!r} share neither")
        terms[name] = torch.stack(parts).sum(0)
    return terms


def require_teachers(method: str, teachers: Mapping[str, Output]) -> None:
    """Raise ValueError if there are none."""
    if not teachers:
        raise ValueError(f"{method} needs at least one teacher")


def _logits(method: str, who: str, output: Output) -> Tensor:
    if output.logits is None:
        raise ValueError(
            f"{method} needs logits, and {who} gives none; for a continuous sentiment use the method `score`"
        )
    if output.logits.ndim != 2 or output.logits.shape[1] < 2:
        raise ValueError(
            f"{method} needs logits [B, C] of two or more classes, and {who} gives {tuple(output.logits.shape)}: the "
            "softmax of one output is constant; use the method `score`"
        )
    return output.logits
