"""Distillation: methods, weighers, steps, and the distiller that joins them. Usable in anybody's loop.

A method alone: `METHODS["fitnet"](layers=[("layer2", "layer3")])`; `build(student, teachers)` once, from example
outputs; then `method(student, teachers, batch)` gives its terms [B]. All together: a `Distiller`, whose forward gives
the losses of an `Example`. Outputs of any module come from `observed`; `Hooked` makes one a Distiller's student.
"""

from training.distillation.configure import make_distiller, make_step, make_weigher
from training.distillation.distiller import Distiller, Losses, supervised
from training.distillation.example import Example, HeldOut
from training.distillation.hooks import Hooked, observed
from training.distillation.methods import METHODS, Method
from training.distillation.methods.base import Terms
from training.distillation.outputs import Batch, Output
from training.distillation.steps import STEPS
from training.distillation.steps.base import Context, Metrics, OuterStep, Step
from training.distillation.steps.plain import Plain
from training.distillation.weighers import WEIGHERS, Weigher

__all__ = [
    "METHODS",
    "STEPS",
    "WEIGHERS",
    "Batch",
    "Context",
    "Distiller",
    "Example",
    "HeldOut",
    "Hooked",
    "Losses",
    "Method",
    "Metrics",
    "OuterStep",
    "Output",
    "Plain",
    "Step",
    "Terms",
    "Weigher",
    "make_distiller",
    "make_step",
    "make_weigher",
    "observed",
    "supervised",
]
