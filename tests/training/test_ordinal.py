import statistics

import numpy as np
import pytest
import torch

from training.methods import METHODS
from training.ordinal import SENTIMENT, OrdinalScale, as_ordinal, as_score
from training.outputs import Batch, Output

SCORES = torch.tensor([-1.0, -0.97, -0.5, -0.1, 0.0, 0.2, 1 / 3, 0.99, 1.0], dtype=torch.float64)


def test_bins_are_mosis_ratings():
    assert SENTIMENT.centers(SCORES).tolist() == pytest.approx([rating / 3 for rating in range(-3, 4)])
    ratings = torch.tensor([-3.0, -1.4, 0.0, 0.2, 0.6, 2.4, 5.0], dtype=torch.float64)
    assert SENTIMENT.index(ratings / 3).tolist() == [int(np.clip(np.round(r), -3, 3)) + 3 for r in ratings.tolist()]


def test_halves_go_to_the_even_bin():
    scale = OrdinalScale(bins=5, low=0.0, high=4.0)
    assert scale.index(torch.tensor([0.5, 1.5, 2.5])).tolist() == [0, 2, 2]


def test_two_hot_keeps_the_score_and_needs_two_bins():
    encoded = SENTIMENT.two_hot(SCORES)
    torch.testing.assert_close(encoded.sum(1), torch.ones_like(SCORES))
    torch.testing.assert_close(encoded @ SENTIMENT.centers(SCORES), SCORES)
    assert (encoded > 0).sum(1).max() <= 2
    assert SENTIMENT.two_hot(torch.tensor([7.0])).tolist() == [[0, 0, 0, 0, 0, 0, 1]]


def test_logits_are_binomial_and_keep_the_score():
    logits = SENTIMENT.logits(SCORES)
    torch.testing.assert_close(SENTIMENT.expected(logits), SCORES.clamp(-0.998, 0.998))
    share = (SCORES.clamp(-0.998, 0.998) + 1) / 2
    binomial = torch.distributions.Binomial(6, share[:, None]).log_prob(torch.arange(7.0, dtype=torch.float64))
    torch.testing.assert_close(logits.log_softmax(1), binomial)
    torch.testing.assert_close(SENTIMENT.variance(logits), 6 * share * (1 - share) / 9)


def test_expected_and_variance_by_loops():
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.0, 0.5, -0.2, 1.0]], dtype=torch.float64)
    weights = logits[0].exp().tolist()
    centers = [rating / 3 for rating in range(-3, 4)]
    mean = statistics.fmean(centers, weights)
    assert SENTIMENT.expected(logits).item() == pytest.approx(mean)
    spread = statistics.fmean([(c - mean) ** 2 for c in centers], weights)
    assert SENTIMENT.variance(logits).item() == pytest.approx(spread)


def test_gradients_stay_finite_at_the_ends():
    score = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], requires_grad=True)
    SENTIMENT.logits(score).square().sum().backward()
    assert score.grad.isfinite().all()


@pytest.mark.parametrize("method", ["kd", "dist", "logit_std"])
def test_response_methods_work_on_scores_as_ordinal_bins(draw_logits, method):
    student = Output(logits=draw_logits(5, 7).requires_grad_())
    teacher = as_ordinal(Output(score=draw_logits(5).tanh()))
    terms = METHODS[method]().loss(student, {"t": teacher}, Batch())
    sum(value.mean() for value in terms.values()).backward()
    assert student.logits.grad.abs().sum() > 0


def test_score_regression_works_on_ordinal_logits(draw_logits):
    student, teacher = as_score(Output(logits=draw_logits(5, 7))), as_score(Output(logits=draw_logits(5, 7)))
    assert METHODS["score"](form="gaussian").loss(student, {"t": teacher}, Batch())["score/t"].isfinite().all()


def test_nothing_is_overwritten_or_invented():
    with pytest.raises(ValueError, match="has logits already"):
        as_ordinal(Output(logits=torch.zeros(1, 7), score=torch.zeros(1)))
    with pytest.raises(ValueError, match="has no score"):
        as_ordinal(Output())
    with pytest.raises(ValueError, match="has a score already"):
        as_score(Output(logits=torch.zeros(1, 7), score=torch.zeros(1)))
    with pytest.raises(ValueError, match="has no logits"):
        as_score(Output())
    with pytest.raises(ValueError, match=r"the scale has 7 bins, the logits are \(1, 5\)"):
        as_score(Output(logits=torch.zeros(1, 5)))
    with pytest.raises(ValueError, match="two or more bins and low < high"):
        OrdinalScale(bins=1)


@pytest.fixture
def draw_logits():
    generator = torch.Generator().manual_seed(5)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
