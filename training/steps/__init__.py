"""Training steps: each one small file; those of family D that need more than a loss are in STEPS."""

from training.steps.base import Metrics, OuterStep, Step, Surroundings
from training.steps.configure import STEPS, make_distiller, make_step, make_weigher
from training.steps.distiller import Distiller, Losses, supervised
from training.steps.example import Example, HeldOut
from training.steps.meta import MetaStep
from training.steps.meta_teacher import MetaTeacher
from training.steps.plain import Plain
from training.steps.reweight import Reweight

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
