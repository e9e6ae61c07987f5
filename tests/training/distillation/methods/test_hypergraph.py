"""The structure of hyperedges; its loss is tested in test_structured."""

import torch

from training.distillation.methods import METHODS
from training.distillation.methods.graph import smoothed
from training.distillation.methods.hypergraph import messages
from training.distillation.methods.streams import LAYER, knowledge, streams_of
from training.models.hypergraph import IndexedHypergraph, smooth

UNIT = torch.tensor([4, 4, 4, 1, 1, 9])


def of_incidence(incidence):
    return IndexedHypergraph(*incidence.shape, incidence.nonzero().T)


def test_messages_are_the_means_of_dense_algebra(draw):
    incidence = (draw(7, 5) > 0).double()
    incidence[:, 3] = 0
    x = draw(7, 4)
    expected = incidence.T @ x / incidence.sum(0).clamp(min=1).unsqueeze(1)
    torch.testing.assert_close(messages(x, of_incidence(incidence)), expected)
    torch.autograd.gradcheck(lambda y: messages(y, of_incidence(incidence)), x.requires_grad_())


def test_weighted_messages_sum_to_the_convolution(draw):
    """With every node in two hyperedges, X' is half the sum of what they tell it."""
    incidence = torch.zeros(6, 5, dtype=torch.float64)
    for node, edges in enumerate([(0, 1), (0, 2), (0, 3), (4, 1), (4, 2), (4, 3)]):
        incidence[node, list(edges)] = 1
    x = draw(6, 3)
    told = messages(x, of_incidence(incidence))
    torch.testing.assert_close(smooth(x, of_incidence(incidence)), incidence @ told / 2)


def test_what_arrives_by_loops_over_hyperedges(world):
    _, teachers, batch = world("streams")
    teachers["small"].present[4] = torch.tensor([0.0, 0, 1])
    streams = {n: s for t in teachers for n, s in streams_of(t, teachers[t]).items()}
    edges = METHODS["hypergraph"](smoothing=0.3).arriving(streams, batch.unit)
    assert list(edges) == [*(f"{name}.context" for name in streams), "utterance"]
    x = {name: knowledge(stream) for name, stream in streams.items()}
    for i in range(6):
        present = [name for name in streams if streams[name].present[i].any()]
        for name in streams:
            members = [j for j in range(6) if batch.unit[j] == batch.unit[i] and streams[name].present[j].any()]
            edge = edges[f"{name}.context"]
            assert bool(edge.present[i].any()) == (name in present)
            if name in present:
                mean = sum(x[name][j] for j in members) / len(members)
                check(edge, i, 0.7 * x[name][i] + 0.3 * mean)
        answers = sum(x[name][i, :4] for name in present) / len(present)
        check(edges["utterance"], i, torch.cat([answers, *(x[name][i, 4:] for name in streams)]))


def check(edge, i, expected):
    """Answers equal, directions equal but for their length."""
    torch.testing.assert_close(edge.logits[i].softmax(0), expected[:4] / expected[:4].sum())
    torch.testing.assert_close(edge.features[LAYER][i], expected[4:] / expected[4:].norm())


def test_hyperedges_of_two_are_the_edges_of_the_graph(world, draw):
    """In a conversation of two utterances both structures join the same nodes."""
    _, teachers, _ = world("streams")
    unit = torch.tensor([1, 1, 2, 2, 3, 3])
    streams = streams_of("t", teachers["large"])
    graph = METHODS["graph"](context=1, smoothing=0.4).arriving(streams, unit)
    hypergraph = METHODS["hypergraph"](smoothing=0.4).arriving(streams, unit)
    for name in streams:
        one, other = graph[name], hypergraph[f"{name}.context"]
        assert torch.equal(one.present, other.present)
        torch.testing.assert_close(one.logits.softmax(1), other.logits.softmax(1))
        torch.testing.assert_close(one.features[LAYER], other.features[LAYER])
    x, present = draw(6, 3), torch.tensor([True, True, False, True, True, True])
    for method in (METHODS["graph"](context=1), METHODS["hypergraph"]()):
        averaged = method.in_context(x, present, unit)
        torch.testing.assert_close(averaged, smoothed(x, present, unit, 1, 0.5))


def test_without_smoothing_the_context_of_a_stream_is_the_graph_of_the_paper(world):
    _, teachers, batch = world("streams")
    streams = streams_of("t", teachers["small"])
    graph = METHODS["graph"](context=0).arriving(streams, batch.unit)
    hypergraph = METHODS["hypergraph"](smoothing=0.0).arriving(streams, batch.unit)
    for name in streams:
        torch.testing.assert_close(hypergraph[f"{name}.context"].logits, graph[name].logits)
        torch.testing.assert_close(hypergraph[f"{name}.context"].features[LAYER], graph[name].features[LAYER])


def test_both_lose_the_same_over_hyperedges_that_are_edges(world):
    """Same students, same weights: a difference between the two is one of structure."""
    student, teachers, batch = world("streams")
    losses = []
    for name in ("graph", "hypergraph"):
        torch.manual_seed(0)
        method = METHODS[name](edges="weigher", smoothing=0.0)
        method.build(student, teachers)
        with torch.no_grad():
            for parameter in method.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
        losses.append(method.loss(student, teachers, batch))
    for term, value in losses[0].items():
        torch.testing.assert_close(losses[1][f"{term.replace('graph/', 'hypergraph/')}.context"], value)


def test_nothing_there_at_all_is_harmless(world):
    student, teachers, batch = world("streams")
    for output in (student, *teachers.values()):
        output.present[:] = 0
    student.logits.requires_grad_()
    for distance in ("cosine", "kl"):
        method = METHODS["hypergraph"](distance=distance)
        method.build(student, teachers)
        terms = method.loss(student, teachers, batch)
        assert terms["hypergraph"].eq(0).all()
        terms["hypergraph"].sum().backward()
        assert student.logits.grad.eq(0).all()
