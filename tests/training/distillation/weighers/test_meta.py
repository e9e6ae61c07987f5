import math

import pytest
import torch

from training.distillation.outputs import Batch, Output
from training.distillation.weighers.meta import Meta


def test_values_by_loops(world):
    student, teachers, batch = world()
    weigher = Meta(hidden=5)
    weigher.build(student, teachers)
    first, _, last = weigher.net
    torch.nn.init.normal_(last.weight)
    expected = []
    for i in range(6):
        seen = []
        for output in (*teachers.values(), student):
            row = output.logits[i].tolist()
            seen += [z - math.log(sum(math.exp(other) for other in row)) for z in row]
        hidden = [max(0.0, b + sum(w * x for w, x in zip(row, seen, strict=True))) for row, b in rows(first)]
        out = [math.exp(b + sum(w * h for w, h in zip(row, hidden, strict=True))) for row, b in rows(last)]
        expected.append([value / sum(out) for value in out])
    torch.testing.assert_close(weigher.weigh(student, teachers, batch), torch.tensor(expected, dtype=torch.float64))


def rows(linear):
    """Pairs (row of weights, bias)."""
    return zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)


def test_the_hidden_layer_is_half_of_what_is_read(world):
    student, teachers, _ = world()
    weigher = Meta()
    weigher.build(student, teachers)
    assert (weigher.net[0].in_features, weigher.net[0].out_features) == (15, 7)


def test_one_net_serves_batches_of_any_size(world):
    for config in ({}, {"of": "features"}):
        student, teachers, batch = world()
        weigher = Meta(**config)
        weigher.build(student, teachers)
        torch.nn.init.normal_(weigher.net[2].weight)
        whole = weigher.weigh(student, teachers, batch)
        alone = weigher.weigh(first(student), {name: first(teacher) for name, teacher in teachers.items()}, batch)
        torch.testing.assert_close(alone, whole[:1])


def first(output):
    """The first sample alone."""
    masks = {name: mask[:1] for name, mask in output.masks.items()}
    features = {name: feature[:1] for name, feature in output.features.items()}
    return Output(output.logits[:1], output.score[:1], features=features, masks=masks)


def test_scores_are_read_where_there_are_no_logits(world):
    student, teachers, _ = world()
    scores = {name: Output(score=teacher.score) for name, teacher in teachers.items()}
    weigher = Meta()
    weigher.build(Output(score=student.score), scores)
    assert weigher.net[0].in_features == 5
    assert weigher.weigh(Output(score=student.score), scores, Batch()).shape == (6, 4)


def test_wrong_hyperparameters_are_refused():
    with pytest.raises(ValueError, match="of must be one of"):
        Meta(of="labels")
    with pytest.raises(ValueError, match="hidden must be at least 0"):
        Meta(hidden=-1)
