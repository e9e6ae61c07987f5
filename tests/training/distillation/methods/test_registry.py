"""What holds for every method of the registry."""

import inspect
import math
from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch

from contract.labels import MODALITIES
from training.distillation.methods import METHODS
from training.distillation.outputs import Output

EXPECTED = {"A": ["kd", "dkd", "dist", "logit_std", "score"], "B": ["fitnet", "attention", "nst", "vid", "crd"],
            "C": ["rkd", "sp", "cc", "pkt"],
            "E": ["cmd", "graph", "dmd", "hypergraph", "gravitation", "missing", "causal"]}  # fmt: skip
ALL = sorted(METHODS)
OF_FEATURES = [name for name in ALL if "features" in METHODS[name].needs]
OF_LAYERS = [name for name in ALL if hasattr(METHODS[name].Config(), "layers")]
OF_POSITIONS = ["attention", "nst"]
ACROSS_MODALITIES = [name for name in ALL if METHODS[name].family == "E"]
OF_SEVERAL_MODALITIES = ["dmd"]
OF_SEQUENCES = [name for name in OF_FEATURES if name not in OF_SEVERAL_MODALITIES]
HAVE_A_FLOOR_ABOVE_ZERO = ["vid", "crd", "ekd", "cmd", "graph", "dmd", "hypergraph", "gravitation", "causal"]
SMALL = {"crd": {"width": 4, "queue": 8}, "vid": {"hidden": 3}, "cmd": {"width": 4, "heads": 2},
         "dmd": {"width": 4, "hidden": 3}}  # fmt: skip
CASES = [
    (name, form)
    for name in ALL
    for form in (("sequence", "map", "vector") if name in OF_SEQUENCES else ("vector",))
    if not (name in [*OF_POSITIONS, *OF_SEVERAL_MODALITIES] and form == "vector")
] + [(name, "streams") for name in ACROSS_MODALITIES]


def form_of(name):
    """What the method is made for."""
    return "streams" if name in ACROSS_MODALITIES else "sequence"


def built(name, student, teachers):
    torch.manual_seed(0)
    method = METHODS[name](**SMALL.get(name, {}))
    method.build(student, teachers)
    return method


def tensors_of(output):
    own = [tensor for tensor in (output.logits, output.score) if tensor is not None]
    return own + list(output.features.values())


def with_tensors(output, tensors):
    """The same output with other logits, score and features, in the order of `tensors_of`."""
    logits, score, *features = tensors
    return replace(output, logits=logits, score=score, features=dict(zip(output.features, features, strict=True)))


def used(output):
    """Leaves that require gradients, for all tensors of an output."""
    return with_tensors(output, [tensor.clone().requires_grad_() for tensor in tensors_of(output)])


@pytest.mark.parametrize("family", EXPECTED)
def test_the_families_are_complete(family):
    assert [name for name in METHODS if METHODS[name].family == family] == EXPECTED[family]


@pytest.mark.parametrize("name", ALL)
def test_metadata(name):
    cls = METHODS[name]
    assert cls.name == name
    assert cls.__module__ == f"training.distillation.methods.{name}"
    assert any(str(year) in cls.paper for year in range(2014, 2027))
    assert len(cls.equation) > 10
    assert cls.needs <= {"logits", "score", "features", "target", "index"}
    assert inspect.getdoc(cls).endswith(".")
    module = inspect.getdoc(inspect.getmodule(cls))
    assert any(line.startswith("    ") for line in module.splitlines()), "an equation"
    assert "code" in module or "RepDistiller" in module, "where published code differs"


@pytest.mark.parametrize("name", ALL)
def test_configs_are_frozen_with_defaults(name):
    config = METHODS[name]().config
    assert type(config) is METHODS[name].Config
    first = fields(config)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(config, first, 1)
    with pytest.raises(TypeError, match="temprature"):
        METHODS[name](temprature=2)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_two_teachers_train_student_and_adapters(world, name, form):
    student, teachers, batch = world(form)
    student = used(student)
    method = built(name, student, teachers)
    terms = method.loss(student, teachers, batch)
    of = {term.partition("/")[2] for term in terms}
    sources = method.sources(student, teachers, batch)
    assert of == set(sources) or (name in ACROSS_MODALITIES and of == {""})
    assert all(term.partition("/")[0].startswith(name) for term in terms)
    assert all(value.shape == (6,) and value.dtype == torch.float64 for value in terms.values())
    # Unevenly, so that the signs of an absolute error cannot cancel.
    sum(value @ torch.arange(1.0, 7.0).double() for value in terms.values()).backward()
    grads = [tensor.grad for tensor in tensors_of(student) if tensor.grad is not None]
    grads += [parameter.grad for parameter in method.parameters()]
    assert grads
    assert all(grad is not None and grad.isfinite().all() and grad.abs().sum() > 0 for grad in grads)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_gradients_agree_with_differences(world, name, form):
    student, teachers, batch = world(form, samples=4, classes=3)
    method = built(name, student, teachers)
    method.loss(student, teachers, replace(batch, index=batch.index + 1))  # crd remembers, and takes its constant once
    method.eval()
    parameters = dict(method.named_parameters())

    def total(*inputs):
        ours, trained = inputs[: len(tensors_of(student))], inputs[len(tensors_of(student)) :]
        state = dict(zip(parameters, trained, strict=True))
        terms = torch.func.functional_call(method, state, (with_tensors(student, ours), teachers, batch))
        return tuple(value / 100 for value in terms.values())

    inputs = [*tensors_of(used(student)), *(p.detach().clone().requires_grad_() for p in parameters.values())]
    torch.autograd.gradcheck(total, inputs, fast_mode=True)


@pytest.mark.parametrize("name", ALL)
def test_gradients_of_gradients_exist(world, name):
    """Outer steps differentiate through a step of the student."""
    student, teachers, batch = world(form_of(name), samples=4, classes=3)
    student, teachers = used(student), {key: used(teacher) for key, teacher in teachers.items()}
    method = built(name, student, teachers)
    loss = sum(value.mean() for value in method.loss(student, teachers, batch).values())
    grads = torch.autograd.grad(loss, tensors_of(student), create_graph=True, allow_unused=True)
    sum(grad.square().sum() for grad in grads if grad is not None).backward()
    outer = [t.grad for teacher in teachers.values() for t in tensors_of(teacher) if t.grad is not None]
    assert outer
    assert all(grad.isfinite().all() for grad in outer)


@pytest.mark.parametrize("name", [name for name in ALL if name not in HAVE_A_FLOOR_ABOVE_ZERO])
def test_a_student_equal_to_its_teacher_has_neither_loss_nor_gradient(world, name):
    teacher, _, batch = world(form_of(name))
    student = used(teacher)
    method = built(name, student, {"t": teacher})
    terms = method.loss(student, {"t": teacher}, batch)
    sum(value.sum() for value in terms.values()).backward()
    # Weights go up to 30000, and rounding with them.
    for value in terms.values():
        torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-9, rtol=0)
    for tensor in tensors_of(student):
        if tensor.grad is not None:
            torch.testing.assert_close(tensor.grad, torch.zeros_like(tensor), atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fill", [0.0, 3.0])
@pytest.mark.parametrize("name", ALL)
def test_constant_outputs_have_finite_gradients(world, name, fill, dtype):
    """Equal samples, zero features, equal logits: where distances, norms and deviations are 0."""
    student, teachers, batch = world(form_of(name))
    flat = [torch.full_like(tensor, fill, dtype=dtype) for tensor in tensors_of(student)]
    student = used(with_tensors(student, flat))
    teachers = {
        key: replace(with_tensors(t, [x.to(dtype) for x in tensors_of(t)]), variance=t.variance.to(dtype))
        for key, t in teachers.items()
    }
    method = built(name, student, teachers)
    terms = method.loss(student, teachers, batch)
    sum(value.sum() for value in terms.values()).backward()
    assert all(value.isfinite().all() for value in terms.values())
    assert all(tensor.grad.isfinite().all() for tensor in tensors_of(student) if tensor.grad is not None)


@pytest.mark.parametrize("name", ALL)
def test_terms_follow_their_samples_when_the_batch_is_reordered(world, name):
    student, teachers, batch = world(form_of(name))
    # Utterances of one conversation stay together, and in order.
    order = torch.tensor([3, 4, 5, 0, 1, 2] if name in ACROSS_MODALITIES else [3, 0, 5, 1, 4, 2])

    def rows(tensor):
        return None if tensor is None else tensor[order]

    def reordered(output):
        moved = with_tensors(output, [tensor[order] for tensor in tensors_of(output)])
        masks = {layer: mask[order] for layer, mask in output.masks.items()}
        return replace(moved, masks=masks, variance=output.variance[order], present=rows(output.present))

    method = built(name, student, teachers).eval()
    plain = method.loss(student, teachers, batch)
    moved = method.loss(
        reordered(student),
        {key: reordered(teacher) for key, teacher in teachers.items()},
        replace(
            batch,
            target=rows(batch.target),
            score=rows(batch.score),
            index=rows(batch.index),
            unit=rows(batch.unit),
        ),
    )
    for term, value in plain.items():
        torch.testing.assert_close(moved[term], value[order])


@pytest.mark.parametrize("name", OF_SEQUENCES)
def test_masked_steps_reach_neither_value_nor_gradient(world, name):
    """Not even when NaN stands in them."""
    student, teachers, batch = world()
    method = built(name, student, teachers).eval()
    plain = method.loss(student, teachers, batch)

    def spoilt(output):
        features = {
            layer: torch.where(output.masks[layer][..., None] > 0, feature, math.nan)
            for layer, feature in output.features.items()
        }
        return replace(output, features=features)

    student = used(spoilt(student))
    terms = method.loss(student, {key: spoilt(teacher) for key, teacher in teachers.items()}, batch)
    for term, value in plain.items():
        torch.testing.assert_close(terms[term], value)
    sum(value.sum() for value in terms.values()).backward()
    grad, mask = student.features["h2"].grad, student.masks["h2"]
    assert grad.isfinite().all()
    assert grad[mask == 0].eq(0).all()


@pytest.mark.parametrize("name", ACROSS_MODALITIES)
def test_absent_modalities_reach_neither_value_nor_gradient(world, name):
    """Not even when NaN stands in them."""
    student, teachers, batch = world("streams")
    method = built(name, student, teachers).eval()
    plain = method.loss(student, teachers, batch)

    def spoilt(output):
        features = dict(output.features)
        for place, modality in enumerate(MODALITIES):
            absent = output.present[:, place : place + 1] == 0
            for layer in (modality, f"{modality}.logits"):
                features[layer] = torch.where(absent, math.nan, features[layer])
        return replace(output, features=features)

    student = used(spoilt(student))
    terms = method.loss(student, {key: spoilt(teacher) for key, teacher in teachers.items()}, batch)
    for term, value in plain.items():
        torch.testing.assert_close(terms[term], value)
    sum(value.sum() for value in terms.values()).backward()
    for place, modality in enumerate(MODALITIES):
        for grad in (student.features[layer].grad for layer in (modality, f"{modality}.logits")):
            assert grad is None or (grad.isfinite().all() and grad[student.present[:, place] == 0].eq(0).all())


@pytest.mark.parametrize("name", ACROSS_MODALITIES)
@pytest.mark.parametrize("rows", [[4], [0, 1], [5, 4]], ids=["one", "two of one conversation", "two of two"])
def test_few_samples_and_one_without_anything_are_harmless(world, name, rows):
    student, teachers, batch = world("streams")

    def taken(output):
        few = with_tensors(output, [tensor[rows] for tensor in tensors_of(output)])
        return replace(few, variance=output.variance[rows], present=output.present[rows])

    method = built(name, student, teachers)
    student, teachers = used(taken(student)), {key: taken(teacher) for key, teacher in teachers.items()}
    student.present[0] = 0
    labels = {key: getattr(batch, key)[rows] for key in ("target", "score", "index", "unit")}
    terms = method.loss(student, teachers, replace(batch, **labels))
    sum(value.sum() for value in terms.values()).backward()
    assert all(value.isfinite().all() for value in terms.values())
    assert all(tensor.grad.isfinite().all() for tensor in tensors_of(student) if tensor.grad is not None)


@pytest.mark.parametrize("name", OF_SEQUENCES)
def test_a_sample_without_any_step_is_harmless(world, name):
    student, teachers, batch = world()
    student = used(student)
    student.masks["h2"] = student.masks["h2"].clone()
    student.masks["h2"][2] = 0
    method = built(name, student, teachers)
    terms = method.loss(student, teachers, batch)
    sum(value.sum() for value in terms.values()).backward()
    assert all(value.isfinite().all() for value in terms.values())
    assert student.features["h2"].grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_a_call_computes_in_full_precision_under_autocast(world, name):
    student, teachers, batch = world(form_of(name))

    def cast(output, dtype):
        return with_tensors(output, [tensor.to(torch.bfloat16).to(dtype) for tensor in tensors_of(output)])

    teachers = {key: replace(cast(teacher, torch.float32), variance=None) for key, teacher in teachers.items()}
    full, half = cast(student, torch.float32), cast(student, torch.bfloat16)
    method = built(name, half, teachers).eval()
    assert all(parameter.dtype == torch.float32 for parameter in method.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method(half, teachers, batch)
    for term, value in method.loss(full, teachers, batch).items():
        assert terms[term].dtype == torch.float32
        assert torch.equal(terms[term], value)


@pytest.mark.parametrize("name", ALL)
def test_nothing_grows_from_step_to_step(world, name):
    """What is kept, for backward and between steps, has the same size at every step and for every sample id."""
    student, teachers, batch = world(form_of(name))
    student = used(student)
    method = built(name, student, teachers)
    sizes = []
    for step in range(1, 6):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: (kept.append(x.numel()), x)[1], lambda x: x):
            method.loss(student, teachers, replace(batch, index=batch.index * 10**step, step=20 + step))
        sizes.append((sum(kept), sum(tensor.numel() for tensor in method.state_dict().values())))
    assert len(set(sizes[1:])) == 1
    assert sizes[0][1] == sizes[-1][1]


@pytest.mark.parametrize("name", [name for name in ALL if METHODS[name].family == "C"])
def test_relations_keep_nothing_between_steps(name):
    assert not METHODS[name]().state_dict()


@pytest.mark.parametrize("name", OF_LAYERS)
def test_a_missing_layer_is_named_with_those_that_exist(world, name):
    student, teachers, _ = world()
    method = METHODS[name](layers=[["h1", "large:h4"], ["h1", "h1"]])
    with pytest.raises(ValueError, match=rf"{name}: teacher 'large' has no feature 'h4': it has h1, h2"):
        method.build(student, teachers) or method.loss(student, teachers, None)


@pytest.mark.parametrize("name", OF_LAYERS)
def test_a_model_without_features_is_named(world, name):
    student, teachers, batch = world()
    teachers["small"] = Output(logits=teachers["small"].logits)
    method = METHODS[name]()
    with pytest.raises(ValueError, match=rf"{name} needs features, and teacher 'small' gives none"):
        method.build(student, teachers) or method.loss(student, teachers, batch)


@pytest.mark.parametrize("name", OF_LAYERS)
def test_wrong_layers_are_refused(name):
    with pytest.raises(TypeError, match="layers must hold pairs"):
        METHODS[name](layers=["h1"])
