import pytest
import torch

from tests.training.distillation.toy import Student
from training.distillation import METHODS, Distiller, make_distiller, supervised
from training.distillation.outputs import Batch, Output
from training.distillation.weighers import WEIGHERS


def test_losses_by_hand(distill, world):
    distiller = distill({"kd": {"temperature": 2.0}, "rkd": {}}, {"name": "confidence"})
    example = world.example()
    losses = distiller(example)
    output = distiller.student(example.inputs)
    weights = WEIGHERS["confidence"]().weigh(output, example.teachers, example.batch)
    kd, rkd = METHODS["kd"](temperature=2.0), METHODS["rkd"]()
    expected = torch.zeros(8, dtype=torch.float64)
    for method in (kd, rkd):
        for name, term in method.loss(output, example.teachers, example.batch).items():
            expected += term * weights[:, list(example.teachers).index(name.split("/")[1])]
            torch.testing.assert_close(losses.terms[name], term)
    torch.testing.assert_close(losses.matching, expected)
    task = torch.nn.functional.cross_entropy(output.logits, example.batch.target, reduction="none")
    torch.testing.assert_close(losses.task, task)
    torch.testing.assert_close(losses.scalar(), (task + expected).mean())
    shares = torch.arange(8.0).double() / 28
    torch.testing.assert_close(losses.scalar(shares), (shares * (task + expected)).sum())
    torch.testing.assert_close(losses.weights["weight/t2"], weights[:, 2])


def test_a_method_may_have_a_weigher_of_its_own(distill, world):
    methods = {"kd": {}, "fitnet": {"weigher": {"name": "confidence", "of": "features"}}}
    distiller = distill(methods, {"name": "uniform"})
    losses = distiller(world.example())
    own = torch.stack([losses.weights[f"weight/fitnet/t{k}"] for k in range(4)], dim=1)
    expected = sum(losses.terms[f"kd/t{k}"] / 4 + losses.terms[f"fitnet/t{k}"] * own[:, k] for k in range(4))
    torch.testing.assert_close(losses.matching, expected)
    torch.testing.assert_close(losses.auxiliary, losses.terms["fitnet/confidence_fit"])


def test_one_method_twice(distill, world):
    kd = METHODS["kd"]
    torch.manual_seed(1)
    distiller = Distiller(Student().double(), {"kd": kd(temperature=1.0), "soft": kd(temperature=8.0)})
    distiller.build(world.example())
    losses = distiller(world.example())
    once = [distill({"kd": {"temperature": t}})(world.example()) for t in (1.0, 8.0)]
    torch.testing.assert_close(losses.matching, once[0].matching + once[1].matching)
    torch.testing.assert_close(losses.terms["soft/kd/t1"], once[1].terms["kd/t1"])


def test_the_plain_student_needs_no_teachers(world):
    example = world.example()
    example.teachers = {}
    distiller = make_distiller(Student().double(), {})
    distiller.build(example)
    losses = distiller(example)
    assert losses.matching.eq(0).all()
    assert losses.weights == {}
    assert len(distiller.learnt_by_loss()) == len(list(distiller.student.parameters()))


def test_columns_keep_the_order_of_build(distill, world):
    distiller = distill(weigher={"name": "attention_select"})
    with torch.no_grad():
        distiller.weigher.theta.copy_(torch.randn_like(distiller.weigher.theta))
    example = world.example()
    before = distiller(example)
    example.teachers = dict(reversed(example.teachers.items()))
    after = distiller(example)
    torch.testing.assert_close(after.matching, before.matching)
    torch.testing.assert_close(after.weights["weight/t0"], before.weights["weight/t0"])


def test_building_leaves_the_student_as_it_was(world):
    student = Student(normalised=True).double()
    student.last.eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    make_distiller(student, {"kd": {}}).build(world.example())
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert student.training
    assert not student.last.training


def test_learners_are_told_apart(distill):
    distiller = distill({"fitnet": {}, "kd": {}}, {"name": "meta"})
    outer, main = distiller.learnt_by_outer_step(), distiller.learnt_by_loss()
    assert {id(p) for p in outer} == {id(p) for p in distiller.weigher.parameters()}
    assert {id(p) for p in outer + main} == {id(p) for p in distiller.parameters()}
    assert len(outer) + len(main) == len(list(distiller.parameters()))
    assert distill(weigher={"name": "attention_select"}).learnt_by_outer_step() == []


def test_missing_teachers_and_wrong_labels_are_refused(distill, world):
    distiller, example = distill(), world.example()
    del example.teachers["t2"]
    with pytest.raises(ValueError, match="lacks the outputs of t2; it has t0, t1, t3"):
        distiller(example)
    example = world.example()
    example.batch = Batch(score=torch.zeros(8))
    with pytest.raises(ValueError, match="meet no label"):
        distiller(example)


def test_the_task_adds_what_labels_there_are():
    output = Output(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0.5, -1.0]))
    batch = Batch(torch.tensor([0, -1]), torch.tensor([float("nan"), 0.0]))
    cross_entropy = torch.nn.functional.cross_entropy(output.logits[:1], batch.target[:1])
    torch.testing.assert_close(supervised(output, batch), torch.stack([cross_entropy, torch.tensor(1.0)]))
