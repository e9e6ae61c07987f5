"""Names and hyper-parameters become a distiller and its training step.

    distiller = make_distiller(student, {"kd": {"temperature": 4.0}, "rkd": {}}, {"name": "meta"})

Knows names; what hyper-parameters mean is said where they are defined, and checked there.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from training.distillation.distiller import Distiller
from training.distillation.methods import METHODS
from training.distillation.steps import STEPS
from training.distillation.steps.base import Context, Step
from training.distillation.weighers import WEIGHERS, Weigher
from training.names import check_name

Options = Mapping[str, Any]


def make_distiller(
    student: nn.Module, methods: Mapping[str, Options], weigher: Options | None = None, **kept: Any
) -> Distiller:
    """Return a distiller that has yet to be built.

    Args:
        student: gives an Output.
        methods: name -> hyper-parameters; a `weigher` among them, like the general one, is for this method alone.
        weigher: hyper-parameters of the general weigher, with its `name`; None for the uniform ensemble.
        kept: `task` and `task_weight` of the Distiller.

    Raises:
        ValueError: a name that isn't there, with the nearest that is; or a wrong value.
        TypeError: a hyper-parameter that isn't there.
    """
    own = {name: make_weigher(options["weigher"]) for name, options in methods.items() if "weigher" in options}
    made = {
        name: METHODS.named(name)(**{key: value for key, value in options.items() if key != "weigher"})
        for name, options in methods.items()
    }
    return Distiller(student, made, None if weigher is None else make_weigher(weigher), own, **kept)


def make_weigher(options: Options) -> Weigher:
    """Return the weigher that `name` among the options names, with the others as hyper-parameters."""
    if "name" not in options:
        raise ValueError(f"a weigher needs a name, one of {', '.join(WEIGHERS)}; got {dict(options)}")
    return WEIGHERS.named(options["name"])(**{key: value for key, value in options.items() if key != "name"})


def make_step(plain: Step, context: Context, steps: Mapping[str, Options] | None = None) -> Step:
    """Wrap the named steps, with their hyper-parameters, around `plain`.

    A meta-learned weigher brings its step `meta` along. The distiller must have been built.

    Raises:
        ValueError: a name that isn't there, or a step that lacks what it works on.
        TypeError: a hyper-parameter that isn't there.
    """
    wanted = dict(steps or {})
    for name in wanted:
        check_name("step", name, STEPS)
    if context.distiller.learnt_by_outer_step():
        wanted.setdefault("meta", {})
    step = plain
    for name in reversed(STEPS):
        if name in wanted:
            step = STEPS[name](step, context, **wanted[name])
    return step
