"""Weighers of edges and hyperedges: every weigher works per sample and per edge without knowing it."""

import copy
import io
import math

import pytest
import torch

from tests.training.distillation.steps.talk import Listener, Talk
from tests.training.distillation.steps.test_meta import check_by_differences
from training.distillation import Context, Plain, make_distiller, make_step
from training.distillation.steps.meta import unevenness
from training.distillation.weighers import WEIGHERS

STRUCTURES = pytest.mark.parametrize("structure", ["graph", "hypergraph"])
LEARNED = [{"name": "meta", "hidden": 3}, {"name": "attention_select", "learn_from": "meta"}]
BY_HELD_OUT = pytest.mark.parametrize("weigher", LEARNED, ids=lambda weigher: weigher["name"])


@pytest.fixture
def talk():
    return Talk()


def distiller_of(talk, methods, weigher=None, seed=1, **student):
    torch.manual_seed(seed)
    distiller = make_distiller(Listener(**student).double(), methods, weigher)
    distiller.build(talk.example())
    return distiller.double()


def weighed(structure, **options):
    return {structure: {"edges": "weigher", **options}}


def edges_of(distiller, example, label):
    return distiller.methods[label].sources(distiller.student(example.inputs), example.teachers, example.batch)


@STRUCTURES
def test_the_loss_by_hand(talk, structure):
    distiller = distiller_of(talk, weighed(structure), {"name": "entropy"})
    example = talk.example()
    losses, output = distiller(example), distiller.student(example.inputs)
    edges = edges_of(distiller, example, structure)
    weights = WEIGHERS["entropy"]().weigh(output, edges, example.batch)
    terms = distiller.methods[structure].loss(output, example.teachers, example.batch)
    for i in range(len(weights)):
        there = [e for e, edge in enumerate(edges.values()) if edge.present[i].any()]
        share = {e: weights[i, e] / weights[i, there].sum() for e in there}
        expected = sum(share[e] * list(terms.values())[e][i] for e in there)
        torch.testing.assert_close(losses.matching[i], expected)
        for e, name in enumerate(edges):
            torch.testing.assert_close(losses.weights[f"weight/{structure}/{name}"][i], share.get(e, expected * 0))
    assert set(losses.weights) == {f"weight/{structure}/{name}" for name in edges}
    assert any(losses.weights[f"weight/{structure}/{name}"][0] == 0 for name in edges), "sample 0 has no audio"


@STRUCTURES
@pytest.mark.parametrize("name", WEIGHERS)
def test_every_weigher_weighs_edges(talk, structure, name):
    distiller = distiller_of(talk, weighed(structure), {"name": name})
    plain = Plain(distiller, torch.optim.AdamW(distiller.learnt_by_loss(), lr=1e-2))
    step = make_step(plain, Context(distiller, talk), {"meta": {"every": 1}} if name == "meta" else {})
    for example in talk.batches(3):
        metrics = step(example)
    assert all(value.isfinite() for value in metrics.values())
    shares = [value for key, value in metrics.items() if key.startswith(f"weight/{structure}/")]
    assert sum(shares).item() == pytest.approx(1)
    assert len(shares) == (6 if structure == "graph" else 7)


@STRUCTURES
def test_the_stream_that_says_anything_is_trusted_least(talk, structure):
    losses = distiller_of(talk, weighed(structure), {"name": "confidence"})(talk.example(*range(7)))
    trust = {key.rpartition("/")[2].removesuffix(".context"): w.mean() for key, w in losses.weights.items()}
    assert min(trust, key=trust.get) == "u.audio"


def test_edges_beside_teachers_have_a_weigher_like_theirs(talk):
    distiller = distiller_of(talk, {"kd": {}, **weighed("graph")}, {"name": "confidence"})
    losses = distiller(talk.example())
    assert {key.count("/") for key in losses.weights} == {1, 2}
    assert {"weight/t", "weight/graph/t.text"} <= set(losses.weights)
    own = {"graph": {"edges": "weigher", "weigher": {"name": "uniform"}}, "kd": {}}
    even = distiller_of(talk, own, {"name": "confidence"})(talk.example()).weights
    assert even["weight/graph/t.text"].tolist() == even["weight/graph/u.text"].tolist()
    assert even["weight/t"].tolist() != even["weight/u"].tolist()
    default = make_distiller(Listener(), weighed("graph"))
    assert default.weighers["graph"].name == "uniform"


@STRUCTURES
def test_learned_weights_of_edges_are_on_record(talk, structure):
    losses = distiller_of(talk, {structure: {}}, {"name": "uniform"})(talk.example())
    for stream in ("audio", "text", "fused"):
        shares = [w for key, w in losses.weights.items() if key.endswith(f">{stream}")]
        torch.testing.assert_close(sum(shares), torch.ones(10).double())
    assert "weight/t" in losses.weights
    assert not any(weight.requires_grad for weight in losses.weights.values())


@BY_HELD_OUT
@STRUCTURES
def test_the_outer_gradient_reaches_the_weights_of_edges(talk, structure, weigher):
    """It is that of the held-out loss after a real step on the weighted terms of the edges."""
    distiller = distiller_of(talk, weighed(structure), weigher)
    with torch.no_grad():
        for parameter in distiller.learnt_by_outer_step():
            parameter.normal_(generator=torch.Generator().manual_seed(3))
    plain = Plain(distiller, torch.optim.SGD(distiller.learnt_by_loss(), lr=1.0), clip_norm=0.0)
    options = {"inner_rate": 0.2, "inner_clip": 0.0}
    step = make_step(plain, Context(distiller, talk), {"meta": options})
    example, held_out = talk.example(), talk.held_out()

    def really_stepped():
        student = copy.deepcopy(distiller)
        losses = student(example)
        losses.matching.mean().backward()
        with torch.no_grad():
            for parameter in student.student.parameters():
                if parameter.grad is not None:
                    parameter -= 0.2 * parameter.grad
        after = student.task(student.student(held_out.inputs), held_out.batch).mean()
        return (after + 0.1 * unevenness(losses)).item()

    loss = step.outer_loss(example, held_out)
    assert loss.item() == pytest.approx(really_stepped(), rel=1e-6)
    check_by_differences(really_stepped, loss, step.learnt)


@BY_HELD_OUT
def test_weights_learned_on_held_out_samples_leave_the_edges_of_a_liar(talk, weigher):
    """One teacher says of every class but the true one that it is: to follow it costs on held-out samples."""
    lie = -4.0 * torch.nn.functional.one_hot(talk.target, 3).double()
    for layer in ("audio.logits", "text.logits"):
        talk.teachers["u"].features[layer] = lie
    talk.teachers["u"].logits = lie
    distiller = distiller_of(talk, weighed("graph", feature_weight=0.0), weigher, width=8)
    plain = Plain(distiller, torch.optim.AdamW(distiller.learnt_by_loss(), lr=5e-3))
    options = {"every": 1, "batch_size": 8, "learning_rate": 0.02}
    step = make_step(plain, Context(distiller, talk), {"meta": options})
    for example in talk.batches(40):
        metrics = step(example)
    believed = sum(value for key, value in metrics.items() if key.startswith("weight/graph/u."))
    assert believed < 0.4, "an even share is a half"


def test_unevenness_is_of_each_weigher_by_itself(talk):
    methods = {"kd": {}, **weighed("hypergraph")}
    losses = distiller_of(talk, methods, {"name": "meta"})(talk.example())
    assert unevenness(losses).item() == pytest.approx(0.5 * ragged(losses), abs=1e-9)


def ragged(losses):
    """KL(even || w) of the hyperedges, which are even among those that are there."""
    logs = [-weight.clamp(min=1e-12).log() for key, weight in losses.weights.items() if "hypergraph" in key]
    return torch.stack(logs).mean().item() - math.log(7)


@BY_HELD_OUT
def test_a_resumed_run_goes_on_bit_for_bit(talk, weigher):
    def run(seed):
        distiller = distiller_of(talk, weighed("hypergraph"), weigher, seed, dropout=0.0)
        optimizer = torch.optim.AdamW(distiller.learnt_by_loss(), lr=1e-2)
        options = {"meta": {"every": 2, "batch_size": 2, "buffer_size": 2}}
        return distiller, optimizer, make_step(Plain(distiller, optimizer), Context(distiller, talk), options)

    whole, half, resumed = run(1), run(1), run(2)
    examples = talk.batches(8)
    for example in examples:
        whole[2](example)
    for example in examples[:4]:
        half[2](example)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in half], file)
    file.seek(0)
    for part, state in zip(resumed, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    for example in examples[4:]:
        resumed[2](example)
    states = whole[0].state_dict(), resumed[0].state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(name.startswith("weighers.hypergraph.") for name in states[0])
