import copy

import pytest
import torch

from tests.training.distillation.steps.test_meta import check_by_differences, different
from tests.training.distillation.toy import Student
from training.distillation import Context, make_step
from training.distillation.steps.meta_teacher import with_live


@pytest.fixture
def live():
    torch.manual_seed(11)
    return {"t1": Student(width=4).double()}


def really_piloted(distiller, teachers, example, quiz, config):
    """The loss in the quiz after a pilot step that an optimiser makes on a copy."""
    pilot = copy.deepcopy(distiller)
    with torch.no_grad():
        taught = with_live(teachers, example)
    pilot(taught).scalar().backward()
    torch.nn.utils.clip_grad_norm_(pilot.student.parameters(), config.inner_clip or float("inf"))
    torch.optim.SGD(pilot.student.parameters(), lr=config.inner_rate).step()
    return pilot.task(pilot.student.eval()(quiz.inputs), quiz.batch).mean().item()


@pytest.mark.parametrize("clip", [0.0, 0.1])
@pytest.mark.parametrize("weigher", ["uniform", "attention_select"])
def test_the_teachers_gradient_is_that_of_the_quiz_after_the_pilot_step(distill, world, plain, live, clip, weigher):
    distiller = distill({"kd": {}}, {"name": weigher})
    options = {"inner_rate": 0.3, "inner_clip": clip}
    step = make_step(plain(distiller), Context(distiller, world, live), {"meta_teacher": options})
    example, quiz = world.example(), world.held_out()
    loss = step.outer_loss(example, quiz)
    assert loss.item() == pytest.approx(really_piloted(distiller, live, example, quiz, step.config), rel=1e-6)
    check_by_differences(lambda: really_piloted(distiller, live, example, quiz, step.config), loss, step.learnt)


def test_the_student_is_taught_by_the_moved_teacher_from_where_it_was(distill, world, plain, live):
    distiller = distill()
    untouched = copy.deepcopy(distiller)
    make_step(plain(distiller, 0.1), Context(distiller, world, live), {"meta_teacher": {}})(world.example())
    with torch.no_grad():
        taught = with_live(live, world.example())
    plain(untouched, 0.1)(taught)
    for moved, expected in zip(distiller.parameters(), untouched.parameters(), strict=True):
        torch.testing.assert_close(moved, expected)


def test_teachers_move_as_often_as_asked_for(distill, world, plain, live):
    distiller = distill()
    context = Context(distiller, world, live)
    step = make_step(plain(distiller, 0.01), context, {"meta_teacher": {"every": 2}})
    moved = []
    for example in world.batches(4):
        before = copy.deepcopy(live["t1"])
        metrics = step(example)
        moved.append(different(before, live["t1"]))
        assert ("meta_teacher/outer_loss" in metrics) == moved[-1]
    assert moved == [True, False, True, False]


def test_a_teacher_may_read_something_else_and_answers_in_evaluation_mode(world, live):
    example = world.example()
    example.teacher_inputs["t1"] = example.inputs * 2
    live["t1"].drop.p = 0.9
    live["t1"].train()
    outputs = with_live(live, example).teachers
    expected = live["t1"].eval()(example.inputs * 2).logits
    torch.testing.assert_close(outputs["t1"].logits, expected)
    assert list(outputs) == ["t0", "t1", "t2", "t3"]
    assert example.teachers["t1"] is not outputs["t1"]


def test_a_teacher_learns_to_teach(distill, world, plain, live):
    """The held-out loss of a student falls faster with a teacher that learns than with the same one standing still."""
    losses = []
    for every in (1, 10_000):
        teacher = copy.deepcopy(live)
        distiller = distill({"kd": {}}, seed=5)
        options = {"every": every, "learning_rate": 0.02, "inner_rate": 0.5}
        step = make_step(plain(distiller, 0.2), Context(distiller, world, teacher), {"meta_teacher": options})
        for example in world.batches(60):
            step(only(example, "t1"))
        losses.append(distiller.task(distiller.student(world.held_out().inputs), world.held_out().batch).mean().item())
    assert losses[0] < losses[1]


def only(example, name):
    """The other teachers say the same as the student's live one: nothing but it matters."""
    example.teachers = dict.fromkeys(example.teachers, example.teachers[name])
    return example


def test_what_it_cannot_work_with_is_refused(distill, world, plain, live):
    distiller = distill()
    with pytest.raises(ValueError, match="give it a live teacher with trainable parameters"):
        make_step(plain(distiller), Context(distiller, world), {"meta_teacher": {}})
    with pytest.raises(ValueError, match="needs held-out samples"):
        make_step(plain(distiller), Context(distiller, None, live), {"meta_teacher": {}})
    for wrong in ({"every": 0}, {"inner_rate": 0.0}, {"learning_rate": -1.0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make_step(plain(distiller), Context(distiller, world, live), {"meta_teacher": wrong})
