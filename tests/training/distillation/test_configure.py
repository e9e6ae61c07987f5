import io

import pytest
import torch

from tests.training.distillation.toy import Student
from training.distillation import STEPS, Context, Distiller, Plain, make_distiller, make_step, make_weigher
from training.distillation.methods import METHODS
from training.distillation.weighers import WEIGHERS

RECIPE = {
    "methods": {"kd": {"temperature": 2.0}, "rkd": {"angle_weight": 10.0}},
    "weigher": {"name": "meta", "hidden": 6},
    "steps": {"meta": {"every": 2, "batch_size": 8}},
}


def test_kd_and_rkd_with_meta_weights_over_four_teachers_is_configuration(world):
    distiller = make_distiller(Student().double(), RECIPE["methods"], RECIPE["weigher"])
    distiller.build(world.example())
    plain = Plain(distiller, torch.optim.AdamW(distiller.learnt_by_loss(), lr=1e-2))
    step = make_step(plain, Context(distiller, world), RECIPE["steps"])
    for example in world.batches(4):
        metrics = step(example)
    assert {f"{term}/t{k}" for term in ("kd", "rkd_distance", "rkd_angle", "weight") for k in range(4)} <= set(metrics)
    assert metrics["meta/outer_loss"].isfinite()
    assert sum(metrics[f"weight/t{k}"] for k in range(4)).item() == pytest.approx(1)


@pytest.mark.parametrize("weigher", WEIGHERS)
@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("score", "dmd")])
def test_every_method_goes_with_every_weigher(world, method, weigher):
    options = {"layers": [("s", "s")]} if method in ("attention", "nst") else {}
    distiller = make_distiller(Student().double(), {method: options}, {"name": weigher})
    distiller.build(world.example())
    plain = Plain(distiller, torch.optim.AdamW(distiller.learnt_by_loss(), lr=1e-2))
    step = make_step(plain, Context(distiller, world), {"meta": {"every": 1}} if weigher == "meta" else {})
    for example in world.batches(2):
        metrics = step(example)
    assert all(value.isfinite() for value in metrics.values())


def test_steps_wrap_each_other_in_one_order_and_meta_comes_by_itself(world):
    distiller = make_distiller(Student().double(), {"kd": {}}, {"name": "meta"})
    distiller.build(world.example())
    plain = Plain(distiller, torch.optim.AdamW(distiller.learnt_by_loss(), lr=1e-2))
    context = Context(distiller, world, {"t0": Student().double()})
    step = make_step(plain, context, {"reweight": {}, "meta_teacher": {}})
    assert names(step.state_dict()) == ["meta_teacher", "meta", "reweight", "plain"] == [*STEPS, "plain"]
    metrics = step(world.example())
    assert {"meta_teacher/outer_loss", "reweight/used", "kd/t0"} <= set(metrics)
    assert make_step(plain, Context(make_distiller(Student(), {}))) is plain


def names(state):
    """Names of the steps in a state, the outermost first."""
    return [state["step"], *(names(state["next"]) if "next" in state else [])]


@pytest.mark.parametrize(
    "steps", [{"meta": {"every": 2}}, {"reweight": {}}, {"meta_teacher": {}}, {name: {} for name in STEPS}]
)
@pytest.mark.parametrize("weigher", ["attention_select", "meta"])
def test_a_resumed_run_goes_on_bit_for_bit(world, steps, weigher):
    if weigher != "meta":
        steps = {name: options for name, options in steps.items() if name != "meta"}
    whole = Run(world, steps, weigher)
    for example in world.batches(10):
        whole.step(example)
    first = Run(world, steps, weigher)
    for example in world.batches(10)[:5]:
        first.step(example)
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    resumed = Run(world, steps, weigher, seed=99)
    resumed.load(torch.load(file, weights_only=True))
    for example in world.batches(10)[5:]:
        resumed.step(example)
    for (name, value), other in zip(flat(whole.state()), flat(resumed.state()), strict=True):
        assert torch.equal(value, other[1]) if isinstance(value, torch.Tensor) else value == other[1], name


class Run:
    """What a loop has: the modules, their optimiser and a step, with a student that draws random numbers itself."""

    def __init__(self, world, steps, weigher, seed=1):
        torch.manual_seed(seed)
        self.distiller = make_distiller(
            Student(normalised=True).double(), {"kd": {}, "fitnet": {"layer": "last"}}, {"name": weigher}
        )
        self.distiller.build(world.example())
        self.optimizer = torch.optim.AdamW(self.distiller.learnt_by_loss(), lr=1e-2)
        context = Context(self.distiller, world, {"t0": Student(width=6).double()})
        self.step = make_step(Plain(self.distiller, self.optimizer), context, steps)

    def state(self):
        return {
            "distiller": self.distiller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step.state_dict(),
        }

    def load(self, state):
        self.distiller.load_state_dict(state["distiller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step.load_state_dict(state["step"])


def flat(state, path=""):
    """Pairs (path, leaf) of nested containers."""
    if isinstance(state, dict):
        return [leaf for key, value in state.items() for leaf in flat(value, f"{path}/{key}")]
    if isinstance(state, (list, tuple)):
        return [leaf for i, value in enumerate(state) for leaf in flat(value, f"{path}/{i}")]
    return [(path, state)]


def test_a_checkpoint_of_other_steps_is_refused(world):
    state = Run(world, {"reweight": {}}, "uniform").step.state_dict()
    with pytest.raises(ValueError, match="the checkpoint has the step 'reweight' where this run has 'meta_teacher'"):
        Run(world, {"meta_teacher": {}}, "uniform").step.load_state_dict(state)


def test_unknown_names_are_answered_with_the_nearest(world):
    with pytest.raises(ValueError, match="no method 'kdd': did you mean 'kd'"):
        make_distiller(Student(), {"kdd": {}})
    with pytest.raises(ValueError, match="no weigher 'confidnce': did you mean 'confidence'"):
        make_weigher({"name": "confidnce"})
    with pytest.raises(ValueError, match="a weigher needs a name, one of attention_select, confidence"):
        make_weigher({"temperature": 2})
    with pytest.raises(ValueError, match="no step 'zzz': there are: meta, meta_teacher, reweight"):
        make_step(None, Context(make_distiller(Student(), {}), world), {"zzz": {}})
    with pytest.raises(TypeError, match="temprature"):
        make_distiller(Student(), {"kd": {"temprature": 2}})
    with pytest.raises(ValueError, match="weigher is for the method 'rkd'; the methods are kd"):
        Distiller(Student(), {"kd": METHODS["kd"]()}, weighers={"rkd": make_weigher({"name": "uniform"})})
