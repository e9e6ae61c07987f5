import math

import pytest
import torch

from training.distillation.outputs import Output
from training.distillation.weighers.attention_select import (
    AttentionSelect,
    attention_weights,
    mixture_divergence,
    mixture_surprisal,
)
from training.distillation.weighers.combine import total


def test_weights_by_loops(draw):
    feature, theta, v = draw(4, 5), draw(3, 5), draw(5)
    expected = []
    for beta in feature.tolist():
        powers = [
            math.exp(sum(t * b * x for t, b, x in zip(row, beta, v.tolist(), strict=True))) for row in theta.tolist()
        ]
        expected.append([power / sum(powers) for power in powers])
    torch.testing.assert_close(attention_weights(feature, theta, v), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence_by_loops(draw, temperature):
    weights, teachers, student = draw(4, 3).softmax(1), draw(4, 3, 5), draw(4, 5)
    expected = []
    for w, z, s in zip(weights.tolist(), (teachers / temperature).softmax(2).tolist(), student.tolist(), strict=True):
        mixture = [sum(w_k * p_k[c] for w_k, p_k in zip(w, z, strict=True)) for c in range(5)]
        powers = [math.exp(value / temperature) for value in s]
        expected.append(sum(m * math.log(m * sum(powers) / power) for m, power in zip(mixture, powers, strict=True)))
    divergence = mixture_divergence(weights, teachers, student, temperature)
    torch.testing.assert_close(divergence, temperature**2 * torch.tensor(expected, dtype=torch.float64))


def test_gradients(draw):
    feature, teachers, student = draw(4, 5), draw(4, 3, 2), draw(4, 2)

    def loss(theta, v):
        return mixture_divergence(attention_weights(feature, theta, v), teachers, student, 2.0)

    assert torch.autograd.gradcheck(loss, (draw(3, 5).requires_grad_(), draw(5).requires_grad_()))


def test_the_students_gradient_is_that_of_the_weighted_kd_terms(draw):
    """sum_k w_k KL(p_k || q) and KL(sum_k w_k p_k || q) differ by what the student has no part in."""
    weights, teachers = draw(4, 3).softmax(1), draw(4, 3, 5)
    student = draw(4, 5).requires_grad_()
    kd = {
        f"kd/{k}": mixture_divergence(torch.ones(4, 1, dtype=torch.float64), teachers[:, k : k + 1], student, 3.0)
        for k in range(3)
    }
    (apart,) = torch.autograd.grad(total(kd, weights, "012").sum(), student)
    (mixed,) = torch.autograd.grad(mixture_divergence(weights, teachers, student, 3.0).sum(), student)
    torch.testing.assert_close(apart, mixed)


def test_masked_steps_are_not_pooled(world):
    student, teachers, batch = world()
    weigher = AttentionSelect()
    weigher.build(student, teachers)
    with torch.no_grad():
        weigher.theta.copy_(torch.randn_like(weigher.theta))
    student.features["h"][0, 2:] = float("nan")
    weights = weigher.weigh(student, teachers, batch)
    beta = torch.stack([student.features["h"][0, :2].amax(0), *student.features["h"][1:].amax(1)])
    torch.testing.assert_close(weights, attention_weights(beta, weigher.theta, weigher.v))


def test_training_begins_with_the_uniform_ensemble_and_equal_teachers_stay_there(world):
    student, teachers, batch = world()
    same = dict.fromkeys(teachers, teachers["small"])
    weigher = AttentionSelect()
    weigher.build(student, same)
    optimizer = torch.optim.SGD(weigher.parameters(), lr=1.0)
    for _ in range(5):
        torch.testing.assert_close(weigher.weigh(student, same, batch), torch.full((6, 4), 0.25, dtype=torch.float64))
        optimizer.zero_grad()
        weigher.terms(student, same, batch)["attention_fit"].sum().backward()
        optimizer.step()


def test_it_finds_the_teacher_that_answers_as_the_student_does(world):
    student, teachers, batch = world()
    teachers["other"].logits = student.logits.clone()
    weigher = AttentionSelect(temperature=1.0, penalty=0.0)
    weigher.build(student, teachers)
    optimizer = torch.optim.Adam(weigher.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        weigher.terms(student, teachers, batch)["attention_fit"].mean().backward()
        optimizer.step()
    assert weigher.weigh(student, teachers, batch).mean(0).argmax() == list(teachers).index("other")


def test_the_terms_can_teach_it_instead(world):
    student, teachers, batch = world()
    weigher = AttentionSelect(learn_from="terms", penalty=0.0)
    weigher.build(student, teachers)
    terms = {f"fitnet/{name}": torch.full((6,), 2.0 if name == "small" else 5.0).double() for name in teachers}
    optimizer = torch.optim.Adam(weigher.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        total(terms, weigher.weigh(student, teachers, batch), teachers).mean().backward()
        optimizer.step()
    assert weigher.weigh(student, teachers, batch).mean(0)[1] > 0.5


def test_a_student_without_logits_is_told_the_other_way(world):
    student, teachers, batch = world()
    weigher = AttentionSelect()
    weigher.build(student, teachers)
    with pytest.raises(ValueError, match=r"needs the student's logits.*learn_from = 'terms'"):
        weigher.terms(Output(features=student.features), teachers, batch)


def test_surprisal_by_loops(draw):
    weights, teachers, target = draw(4, 3).softmax(1), draw(4, 3, 5), torch.tensor([0, 4, -1, 2])
    expected = [
        0.0 if y < 0 else -math.log(sum(w_k * p_k[y] for w_k, p_k in zip(w, p, strict=True)))
        for w, p, y in zip(weights.tolist(), teachers.softmax(2).tolist(), target.tolist(), strict=True)
    ]
    surprisal = mixture_surprisal(weights, teachers, target)
    torch.testing.assert_close(surprisal, torch.tensor(expected, dtype=torch.float64))


def test_labels_find_the_teacher_that_is_right_where_the_student_is_not(world):
    student, teachers, batch = world()
    teachers["other"].logits = 2.0 * torch.nn.functional.one_hot(batch.target, student.logits.shape[1]).double()
    teachers["small"].logits = student.logits.clone()
    weigher = AttentionSelect(learn_from="labels", penalty=0.0)
    weigher.build(student, teachers)
    optimizer = torch.optim.Adam(weigher.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        weigher.terms(student, teachers, batch)["attention_fit"].mean().backward()
        optimizer.step()
    assert weigher.weigh(student, teachers, batch).mean(0).argmax() == list(teachers).index("other")


def test_labels_must_be_there_to_learn_from(world):
    student, teachers, batch = world()
    weigher = AttentionSelect(learn_from="labels")
    weigher.build(student, teachers)
    batch.target = None
    with pytest.raises(ValueError, match="learns from labels, and the batch has no target"):
        weigher.terms(student, teachers, batch)


@pytest.mark.parametrize("wrong", [{"pooling": "sum"}, {"learn_from": "label"}, {"temperature": 0}, {"penalty": -1}])
def test_wrong_hyperparameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AttentionSelect(**wrong)


def test_held_out_samples_teach_it_in_an_outer_step_alone(world):
    student, teachers, batch = world()
    student.features["h"].requires_grad_()
    weigher = AttentionSelect(learn_from="meta")
    weigher.build(student, teachers)
    assert weigher.meta_learned
    assert not AttentionSelect(learn_from="labels").meta_learned
    assert weigher.terms(student, teachers, batch) == {}
    weigher.weigh(student, teachers, batch)[:, 1].sum().backward()
    assert weigher.theta.grad.abs().sum() > 0
    assert student.features["h"].grad is None
