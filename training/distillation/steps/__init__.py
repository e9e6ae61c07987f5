"""Training steps: each one small file; those of family D that need more than a loss are in STEPS."""

from training.distillation.steps.base import OuterStep
from training.distillation.steps.meta import MetaStep
from training.distillation.steps.meta_teacher import MetaTeacher
from training.distillation.steps.reweight import Reweight

STEPS: dict[str, type[OuterStep]] = {
    # In the order in which they wrap each other, the outermost first.
    "meta_teacher": MetaTeacher,
    "meta": MetaStep,
    "reweight": Reweight,
}

__all__ = ["STEPS", "MetaStep", "MetaTeacher", "OuterStep", "Reweight"]
