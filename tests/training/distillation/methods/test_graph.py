"""The pairwise structure; its loss is tested in test_structured."""

import math

import pytest
import torch

from training.distillation.methods import METHODS
from training.distillation.methods.graph import neighbours, smoothed
from training.distillation.methods.streams import LAYER, streams_of

UNIT = torch.tensor([4, 4, 4, 4, 1, 1, 9])
PRESENT = torch.tensor([True, True, False, True, True, True, True])


def test_neighbours_are_near_present_and_of_one_conversation():
    edges = {tuple(pair) for pair in neighbours(PRESENT, UNIT, 2).T.tolist()}
    expected = {
        (i, j)
        for i in range(7)
        for j in range(7)
        if abs(i - j) <= 2 and UNIT[i] == UNIT[j] and PRESENT[i] and PRESENT[j]
    }
    assert edges == expected
    assert neighbours(PRESENT, UNIT, 2).shape[1] == len(expected)
    alone = {(i, i) for i in range(7) if PRESENT[i]}
    for unit, context in ((None, 2), (UNIT, 0)):
        assert {tuple(pair) for pair in neighbours(PRESENT, unit, context).T.tolist()} == alone


@pytest.mark.parametrize("context", [0, 1, 2, 9])
def test_smoothing_by_dense_algebra(draw, context):
    """D^-1/2 (A + I) D^-1/2 of a dense adjacency, where a row that isn't there has neither neighbours nor itself."""
    x = draw(7, 3)
    adjacency = torch.zeros(7, 7, dtype=torch.float64)
    for i in range(7):
        for j in range(7):
            if abs(i - j) <= context and UNIT[i] == UNIT[j] and PRESENT[i] and PRESENT[j]:
                adjacency[i, j] = 1
    scale = torch.tensor([1 / math.sqrt(d) if d else 0.0 for d in adjacency.sum(1).tolist()], dtype=torch.float64)
    expected = 0.3 * x + 0.7 * torch.diag(scale) @ adjacency @ torch.diag(scale) @ x
    expected[2] = 0
    torch.testing.assert_close(smoothed(x, PRESENT, UNIT, context, 0.7), expected)


def test_gradients_through_the_smoothing(draw):
    torch.autograd.gradcheck(lambda x: smoothed(x, PRESENT, UNIT, 2, 0.7), draw(7, 3).requires_grad_())


@pytest.mark.parametrize("options", [{"context": 0}, {"smoothing": 0.0}], ids=str)
def test_without_context_arrives_what_the_teachers_streams_say(world, options):
    """The graph of the paper."""
    _, teachers, batch = world("streams")
    streams = {n: s for t in teachers for n, s in streams_of(t, teachers[t]).items()}
    edges = METHODS["graph"](**options).arriving(streams, batch.unit)
    assert list(edges) == list(streams)
    for name, stream in streams.items():
        there = stream.present.any(1)
        torch.testing.assert_close(edges[name].logits.softmax(1)[there], stream.logits.softmax(1)[there])
        feature = stream.features[LAYER]
        torch.testing.assert_close(edges[name].features[LAYER], feature / feature.norm(dim=1, keepdim=True).clamp(1e-9))


def test_knowledge_stays_in_its_conversation(world):
    """What is said in one conversation arrives in no other, and within one as far as the context goes."""
    _, teachers, batch = world("streams")
    graph = METHODS["graph"](context=1)

    def arriving():
        return graph.arriving(streams_of("t", teachers["large"]), batch.unit)["t.text"].logits

    before = arriving()
    teachers["large"].features["text.logits"][0] += torch.tensor([3.0, 0, 0, 0])
    moved = (arriving() != before).any(1)
    assert moved.tolist() == [True, True, False, False, False, False]


def test_context_is_a_whole_number():
    with pytest.raises(ValueError, match="context must be at least 0"):
        METHODS["graph"](context=-1)
