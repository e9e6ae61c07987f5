"""Training steps: each one small file; those of family D that need more than a loss are in STEPS."""

from training.distillation.configure import STEPS, make_distiller, make_step, make_weigher
from training.distillation.distiller import Distiller, Losses, supervised
from training.distillation.example import Example, HeldOut
from training.distillation.steps.base import Metrics, OuterStep, Step, Surroundings
from training.distillation.steps.meta import MetaStep
from training.distillation.steps.meta_teacher import MetaTeacher
from training.distillation.steps.plain import Plain
from training.distillation.steps.reweight import Reweight

__all__ = [
    "STEPS",
    "Distiller",
    "Example",
    "HeldOut",
    "Losses",
    "MetaStep",
    "MetaTeacher",
    "Metrics",
    "OuterStep",
    "Plain",
    "Reweight",
    "Step",
    "Surroundings",
    "make_distiller",
    "make_step",
    "make_weigher",
    "supervised",
]
