import pytest
import torch

from training.distillation.losses import classification, regression, sentiment_entropy


def test_items_without_a_label_cost_nothing():
    assert classification(torch.randn(2, 7), torch.tensor([-1, -1])).tolist() == [0, 0]
    unknown = torch.tensor([float("nan"), 0.5])
    sentiment = torch.tensor([[0.3], [0.5]], requires_grad=True)
    for loss in (regression, sentiment_entropy):
        assert loss(sentiment, unknown)[0] == 0
    regression(sentiment, unknown).sum().backward()
    assert sentiment.grad.isfinite().all()


@pytest.mark.parametrize("target", [-1.0, -0.4, 0.0, 0.9])
def test_sentiment_entropy_is_least_at_its_target(target):
    candidates = torch.linspace(-0.99, 0.99, 199)
    losses = sentiment_entropy(candidates[:, None], torch.full((199,), target))
    assert float(candidates[losses.argmin()]) == pytest.approx(target, abs=0.011)
