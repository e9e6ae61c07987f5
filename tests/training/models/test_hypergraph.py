"""The hypergraph convolution against dense algebra, and the hypergraph of a batch against loops over its utterances."""

import dhg
import pytest
import torch

from contract.labels import MODALITIES
from training.models.hypergraph import KINDS, HypergraphConv, IndexedHypergraph, MultimodalHypergraph, smooth


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def of_incidence(incidence):
    return IndexedHypergraph(*incidence.shape, torch.nonzero(incidence).T)


def densely(x, incidence, weights):
    """D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 X as written, with the pseudo-inverse of degrees that are 0."""
    invert = torch.linalg.pinv
    vertices, hyperedges = torch.diag(incidence @ weights), torch.diag(incidence.sum(0))
    root = invert(vertices).sqrt()
    return root @ incidence @ torch.diag(weights) @ invert(hyperedges) @ incidence.T @ root @ x


def random(rng, nodes=9, hyperedges=7, density=0.4):
    incidence = (torch.rand(nodes, hyperedges, generator=rng) < density).double()
    weights = torch.rand(hyperedges, generator=rng, dtype=torch.float64) + 0.1
    return torch.randn(nodes, 5, generator=rng, dtype=torch.float64), incidence, weights


@pytest.mark.parametrize("density", [0.1, 0.4, 1.0])
def test_smooth_is_the_dense_formula(rng, density):
    for _ in range(20):
        x, incidence, weights = random(rng, density=density)
        ours = smooth(x, of_incidence(incidence), weights)
        torch.testing.assert_close(ours, densely(x, incidence, weights), atol=1e-10, rtol=0)


def test_convolution_multiplies_by_theta(rng):
    x, incidence, weights = random(rng)
    layer = HypergraphConv(5, 3).double()
    expected = densely(x, incidence, weights) @ layer.theta.weight.T
    torch.testing.assert_close(layer(x, of_incidence(incidence), weights), expected, atol=1e-10, rtol=0)


@pytest.mark.filterwarnings("ignore:Sparse CSR")  # that their products of sparse matrices give
def test_weights_of_one_give_what_dhg_smooths_with(rng):
    x, incidence, _ = random(rng, density=0.5)
    members = [torch.nonzero(column)[:, 0].tolist() for column in incidence.T]
    theirs = dhg.Hypergraph(len(x), members)
    expected = theirs.smoothing_with_HGNN(x.float())
    for hypergraph in (theirs, of_incidence(incidence)):
        torch.testing.assert_close(smooth(x.float(), hypergraph), expected, atol=1e-6, rtol=0)


def test_gradients_agree_with_differences_twice(rng):
    x, incidence, weights = random(rng, nodes=5, hyperedges=4)
    incidence[:, 2] = 0  # an empty hyperedge
    incidence[3] = 0  # a lone node
    hypergraph = of_incidence(incidence)
    inputs = (x.requires_grad_(), weights.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, w: smooth(x, hypergraph, w), inputs)
    assert torch.autograd.gradgradcheck(lambda x, w: smooth(x, hypergraph, w), inputs)


def test_equal_hyperedges_stay_apart(rng):
    incidence = torch.ones(3, 4, dtype=torch.float64)
    x, weights = torch.randn(3, 2, dtype=torch.float64, generator=rng), torch.tensor([1.0, 2, 3, 4]).double()
    hypergraph = of_incidence(incidence)
    assert hypergraph.num_e == 4
    torch.testing.assert_close(smooth(x, hypergraph, weights), densely(x, incidence, weights), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("nodes", "hyperedges"), [(0, 0), (0, 3), (4, 0), (4, 3)])
def test_nothing_to_smooth_with_gives_zeros_and_finite_gradients(nodes, hyperedges):
    hypergraph = IndexedHypergraph(nodes, hyperedges, torch.zeros(2, 0, dtype=torch.int64))
    layer, x = HypergraphConv(5, 3), torch.ones(nodes, 5, requires_grad=True)
    weights = torch.ones(hyperedges, requires_grad=True)
    out = layer(x, hypergraph, weights)
    assert out.shape == (nodes, 3)
    assert not out.any()
    out.sum().backward()
    assert x.grad.isfinite().all()
    assert layer.theta.weight.grad.isfinite().all()


def test_a_lone_node_and_an_empty_hyperedge_leave_the_others_alone(rng):
    x, incidence, weights = random(rng, nodes=4, hyperedges=3, density=1.0)
    more = torch.zeros(5, 4, dtype=torch.float64)
    more[:4, :3] = incidence
    wider = smooth(torch.cat([x, x[:1]]), of_incidence(more), torch.cat([weights, weights[:1]]))
    torch.testing.assert_close(wider[:4], smooth(x, of_incidence(incidence), weights))
    assert not wider[4].any()


def test_a_weight_of_zero_takes_a_hyperedge_away(rng):
    x, incidence, weights = random(rng, density=0.7)
    weights[0] = 0.0
    weights.requires_grad_()
    less = smooth(x, of_incidence(incidence[:, 1:]), weights[1:])
    out = smooth(x, of_incidence(incidence), weights)
    torch.testing.assert_close(out, less)
    out.square().sum().backward()
    assert weights.grad.isfinite().all()


def test_pairs_outside_the_hypergraph_are_refused():
    with pytest.raises(RuntimeError, match="size"):
        smooth(torch.ones(2, 1), IndexedHypergraph(2, 1, torch.tensor([[2], [0]])))


PRESENT = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]]).float()
CONVERSATION = torch.tensor([7, 7, 7, 3, 3, 9])


def test_the_hyperedges_of_a_batch_are_those_of_a_loop():
    made = MultimodalHypergraph.of(PRESENT, CONVERSATION)
    nodes = list(zip(*(rows.tolist() for rows in made.rows), strict=True))
    assert sorted(nodes) == [(i, m) for i in range(6) for m in range(3) if PRESENT[i, m]]
    members = [set() for _ in range(made.hypergraph.num_e)]
    for node, edge in made.hypergraph.pairs.T.tolist():
        members[edge].add(nodes[node])
    assert sum(len(nodes) for nodes in members) == made.hypergraph.pairs.shape[1], "no pair twice"
    for i, conversation in enumerate(CONVERSATION.tolist()):
        for m in range(3):
            context = {(j, m) for j in range(6) if CONVERSATION[j] == conversation and PRESENT[j, m]}
            edge = int(made.edges[i, m])
            assert members[edge] == context
            assert KINDS[made.kind[edge]] == MODALITIES[m]
        edge = int(made.edges[i, 3])
        assert members[edge] == {(i, m) for m in range(3) if PRESENT[i, m]}
        assert KINDS[made.kind[edge]] == "utterance"
    assert made.hypergraph.num_e == 3 * 3 + 6


def test_gather_and_scatter_are_inverse_where_something_is(rng):
    made = MultimodalHypergraph.of(PRESENT, CONVERSATION)
    x = torch.randn(6, 3, 4, generator=rng)
    back = made.scatter(made.gather(x))
    torch.testing.assert_close(back, x * PRESENT.unsqueeze(-1), atol=0, rtol=0)


@pytest.mark.parametrize("absent", [(0,), (1, 2), (0, 1, 2)])
def test_a_modality_that_nobody_has_gives_finite_values_and_gradients(absent, rng):
    present = torch.ones(6, 3)
    present[:, list(absent)] = 0
    made = MultimodalHypergraph.of(present, CONVERSATION)
    x = torch.full((6, 3, 4), torch.nan)
    x[present > 0] = 1.0
    layer, weight = HypergraphConv(4, 4), torch.ones(len(KINDS), requires_grad=True)
    out = made.scatter(layer(made.gather(x), made.hypergraph, weight[made.kind]))
    out.square().sum().backward()
    assert out.isfinite().all()
    assert not out[present == 0].any()
    assert weight.grad.isfinite().all()
    assert layer.theta.weight.grad.isfinite().all()


def test_learned_weights_of_hyperedges_get_gradients(rng):
    made = MultimodalHypergraph.of(PRESENT, CONVERSATION)
    weight = torch.ones(len(KINDS), requires_grad=True)
    x = made.gather(torch.randn(6, 3, 4, generator=rng))
    HypergraphConv(4, 4)(x, made.hypergraph, weight[made.kind]).square().sum().backward()
    assert (weight.grad != 0).all()


def test_conversations_do_not_hear_each_other(rng):
    x = torch.randn(6, 3, 4, generator=rng)
    whole = MultimodalHypergraph.of(PRESENT, CONVERSATION)
    alone = MultimodalHypergraph.of(PRESENT[:3], CONVERSATION[:3])
    together = whole.scatter(smooth(whole.gather(x), whole.hypergraph))
    torch.testing.assert_close(together[:3], alone.scatter(smooth(alone.gather(x[:3]), alone.hypergraph)))
