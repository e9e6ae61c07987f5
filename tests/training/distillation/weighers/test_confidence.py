import math

import pytest
import torch
from torch import nn

from training.distillation.outputs import Batch, Output
from training.distillation.weighers.confidence import Confidence, confidence_weights


def by_loops(logits, target):
    """The weights of CA-MKD from logits [B][K][C]."""
    rows = []
    for sample, y in zip(logits, target, strict=True):
        errors = []
        for row in sample:
            powers = [math.exp(z) for z in row]
            errors.append(-math.log(powers[y] / sum(powers)))
        whole = sum(math.exp(error) for error in errors)
        rows.append([(1 - math.exp(error) / whole) / (len(sample) - 1) for error in errors])
    return torch.tensor(rows, dtype=torch.float64)


def test_values_by_loops(world):
    student, teachers, batch = world()
    logits = torch.stack([teacher.logits for teacher in teachers.values()], dim=1)
    weights = Confidence().weigh(student, teachers, batch)
    torch.testing.assert_close(weights, by_loops(logits.tolist(), batch.target.tolist()))


def test_scores_are_compared_by_their_squared_error(world):
    student, teachers, batch = world()
    errors = torch.stack([(teacher.score - batch.score) ** 2 for teacher in teachers.values()], dim=1)
    weights = Confidence().weigh(student, teachers, Batch(score=batch.score))
    torch.testing.assert_close(weights, (1 - errors.softmax(1)) / 3)


def test_limits():
    """A teacher that is far off gets nothing, the others share alike; of two right ones neither is preferred."""
    weights = confidence_weights(torch.tensor([[0.2, 0.2, 1e4], [0.0, 0.0, 0.0]], dtype=torch.float64))
    expected = [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))


def test_samples_without_a_label_trust_all_alike(world):
    student, teachers, batch = world()
    batch.target[1] = -1
    batch.score[2] = float("nan")
    weights = Confidence().weigh(student, teachers, batch)
    torch.testing.assert_close(weights[1], torch.full((4,), 0.25, dtype=torch.float64))
    weights = Confidence().weigh(student, teachers, Batch(score=batch.score))
    torch.testing.assert_close(weights[2], torch.full((4,), 0.25, dtype=torch.float64))


def test_features_are_judged_by_the_teachers_own_classifiers(world):
    student, teachers, batch = world()
    own = {name: nn.Linear(teacher.features["h"].shape[2], 3).double() for name, teacher in teachers.items()}
    weigher = Confidence(of="features", student_layer="h", teacher_layer="h")
    weigher.use_classifiers(own)
    weigher.build(student, teachers)
    mask = student.masks["h"].unsqueeze(-1)
    pooled = (student.features["h"] * mask).sum(1) / mask.sum(1)
    projections = list(weigher.projections.values())
    logits = [classify(project(pooled)) for classify, project in zip(own.values(), projections, strict=True)]
    expected = by_loops(torch.stack(logits, dim=1).tolist(), batch.target.tolist())
    torch.testing.assert_close(weigher.weigh(student, teachers, batch), expected)
    assert {id(p) for p in weigher.parameters() if p.requires_grad} == {
        id(p) for m in projections for p in m.parameters()
    }


def test_projections_and_classifiers_fit_the_teachers(world, draw):
    """Teachers whose features are linear in the student's, and whose logits are linear in those: both are found."""
    student, teachers, batch = world(teachers=2, samples=40)
    student = Output(features={"h": draw(40, 4)})
    for teacher in teachers.values():
        teacher.features["h"] = student.features["h"] @ draw(4, 3)
        teacher.logits = teacher.features["h"] @ draw(3, 3)
    weigher = Confidence(of="features")
    weigher.build(student, teachers)
    optimizer = torch.optim.Adam(weigher.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        loss = weigher.terms(student, teachers, batch)["confidence_fit"]
        loss.mean().backward()
        optimizer.step()
    assert loss.mean() < 1e-3
    torch.testing.assert_close(
        weigher.weigh(student, teachers, batch), Confidence().weigh(student, teachers, batch), atol=0.05, rtol=0
    )


def test_missing_labels_are_refused(world):
    student, teachers, _ = world()
    with pytest.raises(ValueError, match="confidence asks who is right: it needs a target, or a score"):
        Confidence().weigh(student, teachers, Batch())
    weigher = Confidence(of="features")
    weigher.build(student, teachers)
    with pytest.raises(ValueError, match="needs a target"):
        weigher.weigh(student, teachers, Batch())


def test_a_missing_layer_is_refused(world):
    student, teachers, _ = world()
    with pytest.raises(ValueError, match="confidence: teacher 'large' has no feature 'h9': it has h"):
        Confidence(of="features", teacher_layer="h9").build(student, teachers)
    with pytest.raises(ValueError, match="of must be one of responses, features"):
        Confidence(of="logits")
