"""What holds for every method that there is, in every form of features that it takes."""

import inspect
import math
from dataclasses import FrozenInstanceError, fields, replace
from itertools import product

import pytest
import torch

from contract.labels import MODALITIES
from training.distillation.discovery import parts_of
from training.distillation.methods import METHODS, Method
from training.distillation.outputs import Batch

ALL = sorted(METHODS)
SMALL = {"width": 4, "queue": 8, "hidden": 3, "heads": 2}


@pytest.fixture(params=ALL)
def name(request):
    return request.param


def tensors_of(output):
    own = [tensor for tensor in (output.logits, output.score) if tensor is not None]
    return own + list(output.features.values())


def with_tensors(output, tensors):
    """The same output with other logits, score and features, in the order of `tensors_of`."""
    logits, score, *features = tensors
    return replace(output, logits=logits, score=score, features=dict(zip(output.features, features, strict=True)))


def used(output):
    """Leaves that require gradients, for all tensors of an output."""
    return with_tensors(output, [tensor.detach().clone().requires_grad_() for tensor in tensors_of(output)])


def rows_of(output, rows):
    taken = with_tensors(output, [tensor[rows] for tensor in tensors_of(output)])
    return replace(
        taken,
        variance=output.variance[rows],
        present=None if output.present is None else output.present[rows],
        masks={layer: mask[rows] for layer, mask in output.masks.items()},
    )


def batch_of(batch, rows):
    return replace(batch, **{key: getattr(batch, key)[rows] for key in ("target", "score", "index", "unit")})


def built(name, student, teachers):
    torch.manual_seed(0)
    options = {field.name: SMALL[field.name] for field in fields(METHODS[name].Config) if field.name in SMALL}
    method = METHODS[name](**options)
    method.build(student, teachers)
    return method


def worlds(name, world):
    """Yield method, student, teachers and batch for every form of features that the method takes; at least one."""
    taken = 0
    for form in ("sequence", "map", "vector", "streams"):
        student, teachers, batch = world(form)
        try:
            method = built(name, student, teachers)
            method.eval()(student, teachers, batch)
        except ValueError:
            continue  # With a message, which `test_what_it_needs_and_does_not_get_is_said` reads.
        taken += 1
        yield method, used(student), teachers, batch
    assert taken


def backward(terms):
    """Unevenly, so that the signs of an absolute error cannot cancel."""
    sum(value @ torch.arange(1.0, len(value) + 1).to(value) for value in terms.values()).backward()


def check_finite(terms, student):
    assert all(value.isfinite().all() for value in terms.values())
    assert all(tensor.grad.isfinite().all() for tensor in tensors_of(student) if tensor.grad is not None)


def test_what_the_catalogue_says_about_it(name):
    cls = METHODS[name]
    assert cls.__module__ == f"training.distillation.methods.{name}"
    assert any(str(year) in cls.paper for year in range(2014, 2027))
    module = inspect.getdoc(inspect.getmodule(cls))
    assert any(line.startswith("    ") for line in module.splitlines()), "an equation"
    assert "code" in module or "RepDistiller" in module, "where published code differs"
    config = cls().config
    assert set(cls.scaled) <= {field.name for field in fields(config)}
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, 1)
    with pytest.raises(TypeError, match="temprature"):
        cls(temprature=2)


def test_terms_are_per_sample_and_teach_student_and_adapters(name, world):
    for method, student, teachers, batch in worlds(name, world):
        terms = method.train().loss(student, teachers, batch)
        of = {term.partition("/")[2] for term in terms}
        assert of == set(method.sources(student, teachers, batch)) or (method.family == "E" and of == {""})
        assert all(term.partition("/")[0].startswith(name) for term in terms)
        assert all(value.shape == (6,) for value in terms.values())
        backward(terms)
        grads = [tensor.grad for tensor in tensors_of(student) if tensor.grad is not None]
        assert grads
        assert all(
            grad is not None and grad.abs().sum() > 0 for grad in (*grads, *(p.grad for p in method.parameters()))
        )
        check_finite(terms, student)


def test_a_loss_of_zero_has_no_gradient(name, world):
    """As where a student equals its teacher, for methods that have their floor there."""
    teacher, _, batch = world("streams" if METHODS[name].family == "E" else "sequence")
    student = used(teacher)
    terms = built(name, student, {"t": teacher}).loss(student, {"t": teacher}, batch)
    values = torch.stack(list(terms.values()))
    if values.abs().max() < 1e-9:
        backward(terms)
        for tensor in tensors_of(student):
            # Weights go up to 30000, and rounding with them.
            assert tensor.grad is None or tensor.grad.abs().max() < 1e-8


def test_outer_steps_can_differentiate_through_its_gradient(name, world):
    student, teachers, batch = world("streams" if METHODS[name].family == "E" else "sequence")
    student = used(student)
    loss = sum(value.mean() for value in built(name, student, teachers).loss(student, teachers, batch).values())
    grads = torch.autograd.grad(loss, tensors_of(student), create_graph=True, allow_unused=True)
    squares = sum(grad.square().sum() for grad in grads if grad is not None)
    again = torch.autograd.grad(squares, tensors_of(student), allow_unused=True)
    assert all(grad.isfinite().all() for grad in again if grad is not None)


def test_samples_in_another_order_have_their_terms_in_that_order(name, world):
    order = torch.tensor([1, 2, 0, 4, 3, 5])  # Within conversations, whose utterances stand together.
    for method, student, teachers, batch in worlds(name, world):
        batch.unit = None
        plain = method(student, teachers, batch)
        moved = method(
            rows_of(student, order),
            {key: rows_of(teacher, order) for key, teacher in teachers.items()},
            replace(batch, target=batch.target[order], score=batch.score[order], index=batch.index[order]),
        )
        for term, value in plain.items():
            torch.testing.assert_close(moved[term], value[order])


def spoilt(output):
    """NaN in masked steps and in modalities that are absent."""
    features = dict(output.features)
    for layer, mask in output.masks.items():
        features[layer] = torch.where(mask[..., None] > 0, features[layer], math.nan)
    for place, modality in enumerate(MODALITIES if output.present is not None else ()):
        absent = output.present[:, place : place + 1] == 0
        for layer in (modality, f"{modality}.logits"):
            features[layer] = torch.where(absent, math.nan, features[layer])
    return replace(output, features=features)


def test_what_is_masked_or_absent_reaches_neither_value_nor_gradient(name, world):
    """Not even when NaN stands there."""
    for method, student, teachers, batch in worlds(name, world):
        plain = method(student, teachers, batch)
        hidden = used(spoilt(student))
        terms = method(hidden, {key: spoilt(teacher) for key, teacher in teachers.items()}, batch)
        for term, value in plain.items():
            torch.testing.assert_close(terms[term], value)
        backward(terms)
        for feature in hidden.features.values():
            if feature.grad is not None:
                assert feature.grad[feature.isnan()].eq(0).all()
                assert feature.grad.isfinite().all()


def test_few_samples_and_one_without_anything_are_harmless(name, world):
    """One sample, two of one conversation, two of two."""
    for (method, student, teachers, batch), rows in product(worlds(name, world), ([4], [0, 1], [5, 4])):
        few = used(rows_of(student, rows))
        few.masks = {layer: mask.clone() for layer, mask in few.masks.items()}
        for mask in (*few.masks.values(), *([] if few.present is None else [few.present])):
            mask[0] = 0
        terms = method.loss(
            few, {key: rows_of(teacher, rows) for key, teacher in teachers.items()}, batch_of(batch, rows)
        )
        backward(terms)
        check_finite(terms, few)


def test_constant_outputs_have_finite_gradients(name, world):
    """Equal samples, zero features, equal logits: where distances, norms and deviations are 0."""
    for (method, student, teachers, batch), fill in product(worlds(name, world), (0.0, 3.0)):
        flat = used(with_tensors(student, [torch.full_like(tensor, fill) for tensor in tensors_of(student)]))
        terms = method.loss(flat, teachers, batch)
        backward(terms)
        check_finite(terms, flat)


def test_a_call_computes_in_full_precision_under_autocast(name, world):
    student, teachers, batch = world("streams" if METHODS[name].family == "E" else "sequence")

    def cast(output, dtype):
        return with_tensors(output, [tensor.to(torch.bfloat16).to(dtype) for tensor in tensors_of(output)])

    teachers = {key: replace(cast(teacher, torch.float32), variance=None) for key, teacher in teachers.items()}
    full, half = cast(student, torch.float32), cast(student, torch.bfloat16)
    method = built(name, half, teachers).eval()
    assert all(parameter.dtype == torch.float32 for parameter in method.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method(half, teachers, batch)
    for term, value in method.loss(full, teachers, batch).items():
        assert torch.equal(terms[term], value)


def test_nothing_grows_from_step_to_step(name, world):
    for method, student, teachers, batch in worlds(name, world):
        sizes = []
        for step in range(1, 4):
            kept = []
            with torch.autograd.graph.saved_tensors_hooks(
                lambda x, kept=kept: (kept.append(x.numel()), x)[1], lambda x: x
            ):
                method.train()(student, teachers, replace(batch, index=batch.index * 10**step, step=20 + step))
            sizes.append((sum(kept), sum(tensor.numel() for tensor in method.state_dict().values())))
        assert len(set(sizes[1:])) == 1
        assert sizes[0][1] == sizes[-1][1]


def test_what_it_needs_and_does_not_get_is_said(name, world):
    student, teachers, batch = world("streams" if METHODS[name].family == "E" else "sequence")
    method = built(name, student, teachers)
    without = {
        "logits": lambda output: replace(output, logits=None, score=None),
        "score": lambda output: replace(output, score=None),
        "features": lambda output: replace(output, features={}),
    }
    for need in METHODS[name].needs:
        strip = without.get(need, lambda output: output)
        lacking = batch if need in ("logits", "features") else Batch()
        with pytest.raises(ValueError, match=rf"{name}|stream"):
            method.loss(strip(student), {key: strip(teacher) for key, teacher in teachers.items()}, lacking)
    with pytest.raises(ValueError, match="at least one teacher"):
        method.loss(student, {}, batch)


def test_layers_that_are_not_there_are_named(name, world):
    if not hasattr(METHODS[name].Config(), "layers"):
        return
    student, teachers, batch = world()
    method = METHODS[name](layers=[["h1", "large:h4"], ["h1", "h1"]])
    with pytest.raises(ValueError, match=rf"{name}: teacher 'large' has no feature 'h4': it has h1, h2"):
        method.build(student, teachers) or method.loss(student, teachers, batch)
    with pytest.raises(TypeError, match="layers must hold pairs"):
        METHODS[name](layers=["h1"])


def test_a_method_is_there_because_its_file_is(tmp_path, monkeypatch):
    package = tmp_path / "found"
    package.mkdir()
    source = "from training.distillation.methods.kd import KD\n\nclass New(KD):\n    name = 'new'\n"
    (package / "__init__.py").write_text("")
    (package / "new.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert list(parts_of("found", [str(package)], Method)) == ["kd", "new"]
    (package / "again.py").write_text(source)
    with pytest.raises(ValueError, match=r"'new' is the name of two: in found\.again and in found\.new"):
        parts_of("found", [str(package)], Method)
