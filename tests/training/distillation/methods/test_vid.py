import math

import pytest
import torch

from training.distillation.methods.vid import VID, Predictor, vid


def test_value_by_loops(draw):
    mean, variance, teacher, mask = draw(2, 3, 4), draw(4).exp(), draw(2, 3, 4), torch.tensor([[1, 1, 1], [0, 1, 1]])
    expected = []
    for b in range(2):
        parts = [
            math.log(math.sqrt(variance[c])) + (teacher[b, n, c] - mean[b, n, c]) ** 2 / (2 * variance[c])
            for n in range(3)
            for c in range(4)
            if mask[b, n]
        ]
        expected.append(float(sum(parts)) / len(parts))
    torch.testing.assert_close(vid(mean, variance, teacher, mask), torch.tensor(expected, dtype=torch.float64))


def test_value_is_the_likelihood_up_to_its_constant(draw):
    mean, variance, teacher = draw(2, 3, 4), draw(4).exp(), draw(2, 3, 4)
    likelihood = torch.distributions.Normal(mean, variance.sqrt()).log_prob(teacher).mean((1, 2))
    torch.testing.assert_close(
        vid(mean, variance, teacher, torch.ones(2, 3)), -likelihood - 0.5 * math.log(2 * math.pi)
    )


def test_perfect_predictions_leave_log_sigma_and_no_gradient_to_the_mean(draw):
    teacher, variance = draw(2, 3, 4), draw(4).exp()
    mean = teacher.clone().requires_grad_()
    value = vid(mean, variance, teacher, torch.ones(2, 3))
    value.sum().backward()
    torch.testing.assert_close(value, variance.log().mean().expand(2) / 2)
    assert mean.grad.eq(0).all()


def test_the_best_variance_is_the_mean_squared_error(draw):
    mean, teacher = draw(8, 3, 4), draw(8, 3, 4)
    best = (teacher - mean).square().mean((0, 1)).requires_grad_()
    vid(mean, best, teacher, torch.ones(8, 3)).mean().backward()
    torch.testing.assert_close(best.grad, torch.zeros_like(best), atol=1e-14, rtol=0)


@pytest.mark.parametrize("initial", [1e-3, 5.0, 500.0])
def test_variance_starts_where_it_is_told(initial):
    _, variance = Predictor(2, 3, 3, initial, 1e-5)(torch.zeros(1, 1, 2))
    torch.testing.assert_close(variance, torch.full((3,), initial))


def test_the_predictor_learns_what_can_be_known(draw):
    """Channel 0 of the teacher is a function of the student, channel 1 is noise: only the first variance falls."""
    student = draw(64, 1, 2).float()
    teacher = torch.stack([student[..., 0] - student[..., 1], draw(64, 1).float() * 2], -1)
    torch.manual_seed(0)
    predictor = Predictor(2, 2, 16, 5.0, 1e-5)
    optimizer = torch.optim.Adam(predictor.parameters(), 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        vid(*predictor(student), teacher, torch.ones(64, 1)).mean().backward()
        optimizer.step()
    known, noise = predictor(student)[1].tolist()
    assert known < 0.2 < 1.0 < noise


def test_hidden_width_and_parameters(world):
    student, teachers, batch = world()
    method = VID(hidden=3)
    method.build(student, teachers)
    assert {p.shape for p in method.adapters["large:h1-h1"].parameters()} >= {(3, 6), (3, 3), (8, 3), (8,)}
    assert method.loss(student, teachers, batch)["vid/large"].shape == (6,)


def test_a_variance_below_its_floor_is_refused():
    with pytest.raises(ValueError, match=r"initial_variance must be greater than 0\.5"):
        VID(initial_variance=0.1, least_variance=0.5)
