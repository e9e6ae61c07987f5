import numpy as np
import pytest
import torch

from training.data.calibration import classification_scores, expected_calibration_error, fit_temperature


def test_scores_of_a_known_table():
    logits = torch.eye(3)[torch.tensor([0, 1, 1, 2])] * 10
    scores = classification_scores(logits, torch.tensor([0, 1, 2, 2]))
    assert scores.accuracy == 75
    assert scores.macro_f1 == pytest.approx(100 * (1 + 2 / 3 + 2 / 3) / 3)


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]], dtype=np.float32)
    truth = np.array([0, 1, 1, 1])
    assert expected_calibration_error(probabilities, truth) == pytest.approx((0.4 + 0.4) / 2, abs=1e-6)


def test_temperature_undoes_overconfidence():
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(4000, 5, generator=generator)
    target = torch.multinomial(torch.softmax(honest, dim=-1), 1, generator=generator).squeeze(-1)
    assert fit_temperature(honest * 2.5, target) == pytest.approx(2.5, rel=0.1)
    target[:100] = -1
    assert fit_temperature(honest * 2.5, target) == pytest.approx(2.5, rel=0.1)
