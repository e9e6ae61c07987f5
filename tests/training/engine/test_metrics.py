"""Metrics against loops over samples."""

import numpy as np
import pytest
import torch

from training.data.task import Samples
from training.distillation.outputs import Output
from training.engine.metrics import better, class_measures, measure, score_measures

RNG = np.random.default_rng(0)


def test_classes_against_loops() -> None:
    probabilities = RNG.dirichlet(np.ones(3), size=60).astype(np.float32)
    truth = RNG.integers(0, 3, size=60)
    measures = class_measures(probabilities, truth, classes=4)
    predicted = [max(range(3), key=lambda c: row[c]) for row in probabilities]
    assert measures["accuracy"] == pytest.approx(100 * sum(p == t for p, t in zip(predicted, truth, strict=True)) / 60)
    f1, weights = [], []
    for c in range(3):
        hits = sum(p == t == c for p, t in zip(predicted, truth, strict=True))
        f1.append(2 * hits / (predicted.count(c) + int((truth == c).sum())))
        weights.append(int((truth == c).sum()))
    assert measures["macro_f1"] == pytest.approx(100 * np.mean(f1))
    assert measures["weighted_f1"] == pytest.approx(100 * np.average(f1, weights=weights))
    counted = np.zeros((4, 4), dtype=int)
    for p, t in zip(predicted, truth, strict=True):
        counted[t, p] += 1
    assert measures["confusion"] == counted.tolist()


def test_samples_without_a_label_do_not_count() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], dtype=np.float32)
    assert class_measures(probabilities, np.array([0, -1, 0]), 2)["accuracy"] == 50


def test_scores_against_loops() -> None:
    truth = np.round(RNG.uniform(-1, 1, 50), 1)
    truth[:5] = 0
    predicted = truth + RNG.normal(0, 0.4, 50)
    measures = score_measures(predicted, truth)
    pairs = list(zip(predicted, truth, strict=True))
    assert measures["acc2_has0"] == pytest.approx(100 * np.mean([(p >= 0) == (t >= 0) for p, t in pairs]))
    assert measures["acc2_non0"] == pytest.approx(100 * np.mean([(p > 0) == (t > 0) for p, t in pairs if t != 0]))
    sevens = [max(-3, min(3, round(3 * p))) == max(-3, min(3, round(3 * t))) for p, t in pairs]
    assert measures["acc7"] == pytest.approx(100 * np.mean(sevens))
    assert measures["mae"] == pytest.approx(np.mean([abs(p - t) for p, t in pairs]))
    centred = [(p - predicted.mean(), t - truth.mean()) for p, t in pairs]
    expected = sum(p * t for p, t in centred) / np.sqrt(sum(p * p for p, _ in centred) * sum(t * t for _, t in centred))
    assert measures["pearson"] == pytest.approx(expected)


def test_a_constant_score_correlates_with_nothing() -> None:
    assert score_measures(np.zeros(4), np.array([0.1, 0.2, 0.3, 0.4]))["pearson"] == 0


def test_groups_and_scores_in_one() -> None:
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    samples = Samples(
        {},
        torch.tensor([0, 0, 0, 1]),
        torch.tensor([1.0, float("nan"), -1.0, 0.5]),
        {"gender": torch.tensor([0, 0, 1, 1]), "speaker": torch.arange(4)},
        present=torch.zeros(4, 3),
    )
    measures = measure(Output(logits, torch.tensor([1.0, 9.0, -1.0, 0.5])), samples, ("a", "b"))
    assert measures["accuracy_by_gender"] == {"0": 100.0, "1": 0.0}
    assert measures["mae"] == 0
    assert "accuracy_by_speaker" not in measures


def test_outputs_without_a_label_are_refused() -> None:
    samples = Samples({}, score=torch.zeros(2), present=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="the outputs meet no label"):
        measure(Output(torch.zeros(2, 3)), samples, ("a", "b", "c"))


def test_direction() -> None:
    assert better("accuracy", 2, 1)
    assert better("mae", 1, 2)
