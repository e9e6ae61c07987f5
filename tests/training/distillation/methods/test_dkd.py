import math

import pytest
import torch

from training.distillation.methods.dkd import DKD, dkd, warm_up
from training.distillation.methods.kd import kd


def decoupled(z_s, z_t, y, temperature):
    """TCKD, NCKD and the teacher's 1 - p(y), from probabilities."""
    p, q = ([math.exp(v / temperature) for v in row] for row in (z_t, z_s))
    p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
    target = p[y] * math.log(p[y] / q[y]) + (1 - p[y]) * math.log((1 - p[y]) / (1 - q[y]))
    others = 0.0
    for c in range(len(p)):
        if c != y:
            a, b = p[c] / (1 - p[y]), q[c] / (1 - q[y])
            others += a * math.log(a / b)
    return temperature**2 * target, temperature**2 * others, 1 - p[y]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_values_by_loops(draw, temperature):
    student, teacher, target = draw(6, 5), draw(6, 5), torch.tensor([0, 1, 2, 3, 4, 4])
    rows = [
        decoupled(*row, temperature)[:2]
        for row in zip(student.tolist(), teacher.tolist(), target.tolist(), strict=True)
    ]
    expected = torch.tensor(rows, dtype=torch.float64).T
    torch.testing.assert_close(torch.stack(dkd(student, teacher, target, temperature)), expected)


def test_kd_is_the_sum_with_the_teachers_doubt_as_factor(draw):
    student, teacher, target = draw(6, 5), draw(6, 5), torch.tensor([0, 1, 2, 3, 4, 4])
    doubt = 1 - (teacher / 3).softmax(1).gather(1, target[:, None])[:, 0]
    first, second = dkd(student, teacher, target, 3.0)
    torch.testing.assert_close(first + doubt * second, kd(student, teacher, 3.0))


def test_two_classes_have_no_others(draw):
    target = torch.tensor([0, 1, 1])
    student, teacher = draw(3, 2), draw(3, 2)
    first, second = dkd(student, teacher, target, 2.0)
    assert second.eq(0).all()
    torch.testing.assert_close(first, kd(student, teacher, 2.0))


def test_the_targets_logit_does_not_reach_the_others(draw):
    student, teacher, target = draw(6, 5), draw(6, 5), torch.tensor([0, 1, 2, 3, 4, 4])
    moved = student.scatter_add(1, target[:, None], draw(6, 1))
    torch.testing.assert_close(dkd(moved, teacher, target, 2.0)[1], dkd(student, teacher, target, 2.0)[1])


def test_shifts_change_nothing_and_equality_gives_zero(draw):
    student, teacher, target = draw(6, 5), draw(6, 5), torch.tensor([0, 1, 2, 3, 4, 4])
    for shifted, plain in zip(
        dkd(student + 7, teacher - 7, target, 2.0), dkd(student, teacher, target, 2.0), strict=True
    ):
        torch.testing.assert_close(shifted, plain)
    for part in dkd(teacher + 1, teacher, target, 2.0):
        torch.testing.assert_close(part, torch.zeros_like(part), atol=1e-14, rtol=0)


def test_huge_logits_stay_exact(draw):
    """The authors' subtraction of 1000 leaves class y in when its logit is larger; index does not."""
    student, teacher, target = draw(6, 5), draw(6, 5), torch.tensor([0, 1, 2, 3, 4, 4])
    lift = torch.nn.functional.one_hot(target, 5) * 5000.0
    big = (student + lift).requires_grad_()
    first, others = dkd(big, teacher + lift, target, 1.0)
    torch.testing.assert_close(others, dkd(student, teacher, target, 1.0)[1])
    (first + others).sum().backward()
    assert big.grad.isfinite().all()


def test_samples_without_a_label_have_no_loss(draw):
    student = draw(3, 5).requires_grad_()
    terms = dkd(student, draw(3, 5), torch.tensor([-1, 2, -1]), 2.0)
    sum(terms).sum().backward()
    assert all(term[0] == 0 and term[2] == 0 and term[1] > 0 for term in terms)
    assert student.grad[[0, 2]].eq(0).all()


def test_warm_up_is_linear_in_the_run():
    assert [warm_up(step, 100, 0.08) for step in (0, 4, 8, 99)] == [0.0, 0.5, 1.0, 1.0]
    assert warm_up(0, 0, 0.08) == 1.0
    assert warm_up(0, 100, 0.0) == 1.0


def test_terms_carry_warm_up_and_weights(world):
    student, teachers, batch = world()
    batch.step = 4
    terms = DKD(temperature=2.0, alpha=3.0, beta=5.0, warmup=0.08).loss(student, teachers, batch)
    target, others = dkd(student.logits, teachers["large"].logits, batch.target, 2.0)
    torch.testing.assert_close(terms["dkd_target/large"], 1.5 * target)
    torch.testing.assert_close(terms["dkd_others/large"], 2.5 * others)


def test_a_batch_without_targets_is_refused(world):
    student, teachers, batch = world()
    batch.target = None
    with pytest.raises(ValueError, match="dkd needs the target classes of the batch; use `kd`"):
        DKD().loss(student, teachers, batch)
