"""From the tables of a recipe to a distiller and its training step: `kd + rkd` with `meta` weights is configuration
only.

    [methods.kd]
    temperature = 4.0
    [methods.rkd]
    angle_weight = 50.0
    [weigher]
    name = "meta"
    [steps.meta]
    every = 5

Knows names and hyper-parameters; what they mean is said where they are defined.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from torch import nn

from training.distillation.distiller import Distiller
from training.distillation.methods import METHODS
from training.distillation.methods.base import Method
from training.distillation.steps.base import OuterStep, Step, Surroundings
from training.distillation.steps.meta import MetaStep
from training.distillation.steps.meta_teacher import MetaTeacher
from training.distillation.steps.reweight import Reweight
from training.distillation.weighers import WEIGHERS, Weigher

STEPS: dict[str, type[OuterStep]] = {
    # In the order in which they wrap each other, the outermost first.
    "meta_teacher": MetaTeacher,
    "meta": MetaStep,
    "reweight": Reweight,
}

Options = Mapping[str, Any]
Part = TypeVar("Part")


def make_distiller(
    student: nn.Module, methods: Mapping[str, Options], weigher: Options | None = None, **kept: Any
) -> Distiller:
    """Return a distiller that has yet to be built.

    Args:
        student: gives an Output.
        methods: label -> hyper-parameters of the method. The label is the method's name, unless the hyper-parameters
            have a `method`; a `weigher` among them, like the general one, is for this method alone.
        weigher: hyper-parameters of the general weigher, with its `name`; None for the uniform ensemble. A method with
            sources of its own gets one more like it.
        kept: `task` and `task_weight` of the Distiller.

    Raises:
        ValueError: a name that isn't there, with the nearest that is; or a wrong value.
        TypeError: a hyper-parameter that isn't there.
    """
    made: dict[str, Method] = {}
    weighers: dict[str, Weigher] = {}
    for label, options in methods.items():
        rest = {key: value for key, value in options.items() if key not in ("method", "weigher")}
        made[label] = _named(METHODS, "method", options.get("method", label))(**rest)
        own = options.get("weigher", weigher if made[label].weighs_sources else None)
        if own is not None:
            weighers[label] = make_weigher(own)
    return Distiller(student, made, None if weigher is None else make_weigher(weigher), weighers, **kept)


def make_weigher(options: Options) -> Weigher:
    """Return the weigher that `name` among the options names, with the others as hyper-parameters."""
    if "name" not in options:
        raise ValueError(f"a weigher needs a name, one of {', '.join(WEIGHERS)}; got {dict(options)}")
    rest = {key: value for key, value in options.items() if key != "name"}
    return _named(WEIGHERS, "weigher", options["name"])(**rest)


def make_step(plain: Step, surroundings: Surroundings, steps: Mapping[str, Options] | None = None) -> Step:
    """Wrap the named steps, with their hyper-parameters, around `plain`.

    A meta-learned weigher brings its step `meta` along. The distiller must have been built.

    Raises:
        ValueError: a name that isn't there, or a step that lacks what it works on.
        TypeError: a hyper-parameter that isn't there.
    """
    wanted = dict(steps or {})
    for name in wanted:
        _named(STEPS, "step", name)
    if surroundings.distiller.learnt_by_outer_step():
        wanted.setdefault("meta", {})
    step = plain
    for name in reversed(STEPS):
        if name in wanted:
            step = STEPS[name](step, surroundings, **wanted[name])
    return step


def _named(registry: Mapping[str, Part], kind: str, name: str) -> Part:
    if name in registry:
        return registry[name]
    near = get_close_matches(name, registry, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(registry)}"
    raise ValueError(f"there is no {kind} {name!r}; {hint}")
