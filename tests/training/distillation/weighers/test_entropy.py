import math

import pytest
import torch

from training.distillation.outputs import Batch, Output
from training.distillation.weighers.entropy import Entropy, entropy_weights


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_values_by_loops(draw, temperature):
    logits = 3 * draw(5, 4, 3)
    expected = []
    for sample in logits.tolist():
        entropies = []
        for row in sample:
            powers = [math.exp(z / temperature) for z in row]
            entropies.append(-sum(p / sum(powers) * math.log(p / sum(powers)) for p in powers))
        expected.append([(1 - h / sum(entropies)) / 3 for h in entropies])
    torch.testing.assert_close(entropy_weights(logits, temperature), torch.tensor(expected, dtype=torch.float64))


def test_the_surer_teacher_counts_more(world):
    student, teachers, batch = world(teachers=2)
    teachers["large"].logits = teachers["small"].logits * 4
    weights = Entropy().weigh(student, teachers, batch)
    assert (weights[:, 0] > weights[:, 1]).all()


def test_limits():
    """Uniform answers share alike; among two, one that is certain gets all; where all are certain, nobody is surer."""
    unsure, sure = [0.0, 0.0, 0.0], [1e5, 0.0, 0.0]
    logits = torch.tensor([[unsure, unsure], [sure, unsure], [sure, sure]], dtype=torch.float64)
    expected = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(entropy_weights(logits), expected)


def test_a_teacher_without_logits_is_refused(world):
    student, teachers, batch = world()
    teachers["other"] = Output(score=student.score)
    with pytest.raises(ValueError, match=r"entropy needs the logits of every teacher, and other gives none"):
        Entropy().weigh(student, teachers, batch)
    with pytest.raises(ValueError, match=r"same samples and classes.*large \(6, 3\), small \(6, 2\)"):
        Entropy().weigh(student, {"large": teachers["large"], "small": Output(torch.zeros(6, 2))}, Batch())


def test_a_wrong_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature must be greater than 0"):
        Entropy(temperature=0.0)
