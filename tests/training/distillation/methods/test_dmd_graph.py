import math

import pytest
import torch

from training.distillation.methods.dmd_graph import FAVOURED, Edges, Nodes, edges_between, graph, prior_of

ALL = ("audio", "video", "text")


def nodes(draw, count, there=None, samples=5, outputs=2, width=3):
    there = torch.ones(samples, count, dtype=torch.bool) if there is None else torch.tensor(there)
    return Nodes(draw(samples, count, outputs), draw(samples, count, width), there)


def made(targets, sources, prior="uniform"):
    torch.manual_seed(0)
    names = edges_between(ALL[: sources.codes.shape[1]], ALL[: targets.codes.shape[1]])
    return Edges(targets.described.shape[-1], 4, prior_of(names, FAVOURED["private"], prior)).double()


THERE_T = [[True, True], [True, False], [True, True], [False, False], [False, True]]
THERE_S = [[True, True, True], [True, True, True], [False, True, False], [True, True, True], [True, False, True]]


@pytest.mark.parametrize("prior", ["uniform", "authors"])
def test_by_loops(draw, prior):
    targets, sources = nodes(draw, 2, THERE_T), nodes(draw, 3, THERE_S)
    edges = made(targets, sources, prior)
    value, weights = graph(targets, sources, edges, (2.0, 3.0, 5.0))
    expected, by_edge = torch.zeros(5, dtype=torch.float64), {(k, j): [] for k in range(2) for j in range(3)}
    for i in range(5):
        scores = {}
        for k, j in by_edge:
            if THERE_T[i][k] and THERE_S[i][j]:
                hidden = edges.target(targets.described[i, k]) + edges.source(sources.described[i, j])
                scores[k, j] = math.exp(edges.score(hidden.tanh()).detach().item() / 8)
        for (k, j), score in scores.items():
            weight = score / sum(scores.values())
            by_edge[k, j].append(weight)
            assert weights[i, 3 * k + j].item() == pytest.approx(weight)
            said = (targets.says[i, k] - sources.says[i, j]).abs().sum()
            turned = 1 - torch.nn.functional.cosine_similarity(targets.codes[i, k], sources.codes[i, j], dim=0)
            expected[i] += (weight + edges.prior[3 * k + j]) * (2 * said + 3 * turned)
    regulariser = sum(
        (sum(found) / len(found) - edges.prior[3 * k + j].item()) ** 2 for (k, j), found in by_edge.items() if found
    )
    torch.testing.assert_close(value, expected + 5 * regulariser)
    assert weights[3].eq(0).all()
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0]).double())


def test_the_authors_priors_are_those_of_the_catalogue():
    """.48 on text -> video and text -> audio; .33 on three edges."""
    names = edges_between(ALL, ALL)
    common, private = (dict(zip(names, prior_of(names, FAVOURED[space], "authors"), strict=True))
                       for space in ("common", "private"))  # fmt: skip
    assert {name for name, value in common.items() if value > 0.1} == {"text>video", "text>audio"}
    assert (
        common["text>video"].item()
        == pytest.approx(math.exp(4) / (2 * math.exp(4) + 4))
        == pytest.approx(0.48, abs=5e-3)
    )
    assert {name for name, value in private.items() if value > 0.1} == {"text>video", "text>audio", "video>audio"}
    assert private["video>audio"].item() == pytest.approx(0.33, abs=5e-3)
    for prior in (common, private):
        assert sum(prior.values()).item() == pytest.approx(1.0)
        assert all(prior[f"{m}>{m}"] == 0 for m in ALL)
    assert prior_of(names, FAVOURED["common"], "uniform").tolist() == pytest.approx([1 / 9] * 9)
    assert prior_of(["text>text"], FAVOURED["common"], "authors").tolist() == [0]


def test_a_student_equal_to_its_teacher_learns_nothing_from_the_same_modality(draw):
    targets = nodes(draw, 1)
    edges = made(targets, targets)
    value, weights = graph(targets, targets, edges, (1.0, 10.0, 10.0))
    torch.testing.assert_close(value, torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(weights, torch.ones(5, 1, dtype=torch.float64))


def test_codes_are_drawn_together_in_every_space(draw):
    """The authors' max(0, cos) is least where codes are orthogonal or opposite; here it is where they are one."""
    sources = nodes(draw, 1)
    edges = made(sources, sources)
    turned = [graph(Nodes(sources.says, codes, sources.there), sources, edges, (0.0, 1.0, 0.0))[0]
              for codes in (sources.codes, sources.codes.roll(1, 2), -sources.codes)]  # fmt: skip
    assert (turned[0] < turned[1]).all()
    assert (turned[1] < turned[2]).all()


def test_edges_learn_which_source_is_near(draw):
    """With one source that says what the target says, and one at random, the weight goes to the first."""
    targets = nodes(draw, 1, samples=64)
    says = torch.cat([targets.says + 0.1 * draw(64, 1, 2), 3 * draw(64, 1, 2)], 1)
    codes = torch.cat([targets.codes, draw(64, 1, 3)], 1)
    sources = Nodes(says, codes, torch.ones(64, 2, dtype=torch.bool))
    weights = {}
    for regulariser in (0.0, 1000.0):
        edges = made(targets, sources)
        optimizer = torch.optim.Adam(edges.parameters(), lr=0.05)
        for _ in range(60):
            optimizer.zero_grad()
            value, found = graph(targets, sources, edges, (1.0, 1.0, regulariser))
            value.mean().backward()
            optimizer.step()
        weights[regulariser] = found.detach().mean(0).tolist()
    assert weights[0.0][0] > 0.7
    assert weights[1000.0] == pytest.approx([0.5, 0.5], abs=0.01)  # A strong regulariser leaves nothing to learn.


def test_gradients_agree_with_differences(draw):
    targets, sources = nodes(draw, 2, THERE_T), nodes(draw, 3, THERE_S)
    edges = made(targets, sources)

    def value(*tensors):
        ours, theirs = Nodes(*tensors[:2], targets.there), Nodes(*tensors[2:], sources.there)
        return graph(ours, theirs, edges, (1.0, 10.0, 1.0))

    inputs = (targets.says, targets.codes, sources.says, sources.codes)
    torch.autograd.gradcheck(value, [x.clone().requires_grad_() for x in inputs], fast_mode=True)
