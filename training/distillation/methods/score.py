"""Regression of a continuous sentiment on the teacher's: the response method for scores, where softmax KD is constant.

    square:    L = (s_s - s_t)^2
    absolute:  L = |s_s - s_t|
    gaussian:  L = (log v_t + (s_s - s_t)^2 / v_t) / 2

s_s, s_t: scores of student and teacher; v_t: the teacher's variance. The squared form goes back to Ba & Caruana,
*Do Deep Nets Really Need to be Deep?*, NIPS 2014, who regress a student on a teacher's outputs before the softmax;
the gaussian one is the negative log-likelihood (without its constant) of Nix & Weigend, *Estimating the mean and
variance of the target probability distribution*, ICNN 1994: where the teacher is unsure, its score counts less.
There is no authors' code for sentiment scores to differ from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.responses import require_teachers
from training.distillation.outputs import Batch, Output

Form = Literal["square", "absolute", "gaussian"]


def square(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared difference [B] of scores [B]."""
    return (student - teacher).square()


def absolute(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the absolute difference [B] of scores [B]; its gradient at 0 is 0."""
    return (student - teacher).abs()


def gaussian(student: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    """Return the negative log-likelihood [B] of the student's scores [B], without its constant.

    `teacher` and `variance` [B], greater than 0, are the mean and variance of the teacher's gaussian.
    """
    return (variance.log() + (student - teacher).square() / variance) / 2


@dataclass(frozen=True)
class ScoreConfig:
    """Hyper-parameters of `score`."""

    form: Form = "square"
    """`square`, `absolute`, or `gaussian`, which needs teachers that give a variance."""
    least_variance: float = 1e-3
    """Teachers' variances below it are raised to it, so that no sample outweighs all others."""
    weight: float = 1.0
    """Factor of the term."""

    def __post_init__(self) -> None:
        checks.choice(self, "form", ("square", "absolute", "gaussian"))
        checks.number(self, "least_variance", above=0)
        checks.number(self, "weight", least=0)


class Score(Method):
    """Regresses the student's sentiment on the teacher's."""

    name = "score"
    family = "A"
    paper = "after Ba & Caruana, Do Deep Nets Really Need to be Deep?, NIPS, 2014"
    equation = "(s_s - s_t)^2, or |s_s - s_t|, or (log v_t + (s_s - s_t)^2 / v_t) / 2"
    needs = frozenset({"score"})
    Config = ScoreConfig
    config: ScoreConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `score/teacher` for every teacher."""
        require_teachers("score", teachers)
        s_s = _score("the student", student)
        return {
            f"score/{name}": self.config.weight * self._term(s_s, name, teacher) for name, teacher in teachers.items()
        }

    def _term(self, s_s: Tensor, name: str, teacher: Output) -> Tensor:
        s_t = _score(f"teacher {name!r}", teacher)
        if s_t.shape != s_s.shape:
            raise ValueError(f"score: the student gives {tuple(s_s.shape)}, teacher {name!r} {tuple(s_t.shape)}")
        if self.config.form == "square":
            return square(s_s, s_t)
        if self.config.form == "absolute":
            return absolute(s_s, s_t)
        if teacher.variance is None:
            raise ValueError(
                f"score: the gaussian form needs a variance, and teacher {name!r} gives none; use `square`"
            )
        return gaussian(s_s, s_t, teacher.variance.clamp_min(self.config.least_variance))


def _score(who: str, output: Output) -> Tensor:
    if output.score is None:
        raise ValueError(
            f"score needs a continuous sentiment, and {who} gives none; use a method for classes such as `kd`"
        )
    if output.score.ndim != 1:
        raise ValueError(f"score needs one number a sample, [B], and {who} gives {tuple(output.score.shape)}")
    return output.score
