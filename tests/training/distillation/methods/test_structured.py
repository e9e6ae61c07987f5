"""What `graph` and `hypergraph` share: the loss over edges, their weights, and who is left out."""

import math

import pytest
import torch

from training.distillation.methods import METHODS
from training.distillation.methods.streams import LAYER, streams_of, there
from training.distillation.methods.structured import edge_scores
from training.distillation.outputs import Output

BOTH = pytest.mark.parametrize("name", ["graph", "hypergraph"])


@pytest.fixture
def made(world):
    """Build a method for the multimodal world, and return it with the world."""

    def make(name, **options):
        student, teachers, batch = world("streams")
        torch.manual_seed(0)
        method = METHODS[name](**options)
        method.build(student, teachers)
        return method.double(), student, teachers, batch

    return make


def cosine(x, y):
    lengths = math.hypot(*x) * math.hypot(*y)
    return sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths else 0.0


def softmax(x):
    powers = [math.exp(value) for value in x]
    return [power / sum(powers) for power in powers]


def by_loops(method, student, edges):
    """For every sample, stream and edge the distance (None where one isn't there), and the learned weights."""
    streams = {name.partition(".")[2]: stream for name, stream in streams_of("s", student).items()}
    distances, weights = [], []
    for i in range(len(student.logits)):
        distances.append({})
        weights.append({})
        for k, own in streams.items():
            scores = {}
            for e, edge in edges.items():
                key = f"{k}>{e}".replace(".", "%2E")
                both = bool(own.present[i].any()) and bool(edge.present[i].any())
                answers = 1 - cosine(softmax(own.logits[i].tolist()), softmax(edge.logits[i].tolist()))
                projected = method.projections[key](own.features[LAYER][i])
                features = 1 - cosine(projected.tolist(), edge.features[LAYER][i].tolist())
                distances[i][k, e] = 10 * answers + features if both else None
                if edge.present[i].any() and method.config.edges == "learned":
                    scores[e] = score(method, k, own, e, edge, i)
            powers = {e: math.exp(value / 8) for e, value in scores.items()}
            weights[i] |= {(k, e): powers[e] / sum(powers.values()) for e in powers}
    return distances, weights


def score(method, k, own, e, edge, i):
    codes = []
    for name, output in ((k, own), (e, edge)):
        feature = output.features[LAYER][i].tolist()
        length = math.hypot(*feature)
        direction = [value / length if length else 0.0 for value in feature]
        answer = [math.log(p) for p in softmax(output.logits[i].tolist())]
        reader = method.readers[name.replace(".", "%2E")]
        read = torch.tensor(answer + direction, dtype=torch.float64)
        codes.append((reader.weight @ read + reader.bias).tolist())
    return sum(v * math.tanh(a + b) for v, a, b in zip(method.v.tolist(), *codes, strict=True))


def mean_over_streams(weighted):
    """Sum over edges, mean over the streams of the sample that are there, of (stream, edge) -> value or None."""
    streams = {k for (k, _), value in weighted.items() if value is not None}
    return sum(value for value in weighted.values() if value is not None) / max(len(streams), 1)


@BOTH
def test_the_loss_with_learned_weights_by_loops_over_edges(made, name):
    method, student, teachers, batch = made(name)
    with torch.no_grad():
        method.v.mul_(20)  # Starting weights are nearly even.
    edges = method.arriving({n: s for t in teachers for n, s in streams_of(t, teachers[t]).items()}, batch.unit)
    distances, weights = by_loops(method, student, edges)
    terms = method.loss(student, teachers, batch)
    for i in range(6):
        reached = [e for e in edges if edges[e].present[i].any()]
        prior = 1 / len(reached)
        weighted = {key: None if d is None else (weights[i][key] + prior) * d for key, d in distances[i].items()}
        assert terms[name][i].item() == pytest.approx(mean_over_streams(weighted))
        for k in ("audio", "video", "text", "fused"):
            for e in edges:
                known = method.edge_weights()[f"{e}>{k}"][i].item()
                assert known == pytest.approx(weights[i].get((k, e), 0.0))
    pulls = [
        sum(weights[i].get((k, e), 0.0) - prior_of(edges, e, i) for i in range(6)) / 6
        for k in ("audio", "video", "text", "fused")
        for e in edges
    ]
    assert terms[f"{name}_prior"].tolist() == pytest.approx([10 * sum(pull**2 for pull in pulls) / 4] * 6)
    assert sum(pull**2 for pull in pulls) > 1e-6


def prior_of(edges, edge, i):
    present = [e for e in edges if edges[e].present[i].any()]
    return 1 / len(present) if edge in present else 0.0


@BOTH
def test_weights_of_a_node_sum_to_one_and_absent_edges_have_none(made, name):
    method, student, teachers, batch = made(name)
    teachers["large"].present[3] = 0
    teachers["small"].present[3] = 0
    method.loss(student, teachers, batch)
    weights = method.edge_weights()
    edges = {key.partition(">")[0] for key in weights}
    for stream in ("audio", "video", "text", "fused"):
        total = sum(weights[f"{edge}>{stream}"] for edge in edges)
        torch.testing.assert_close(total, torch.tensor([1.0, 1, 1, 0, 1, 1]).double())
    absent = next(edge for edge in edges if edge.startswith("large.audio"))
    assert weights[f"{absent}>text"][0] == 0
    assert not any(value.requires_grad for value in weights.values())


@BOTH
def test_even_weights_and_an_even_weigher_are_the_same(made, name):
    method, student, teachers, batch = made(name, edges="uniform")
    whole = method.loss(student, teachers, batch)
    assert list(whole) == [name]
    assert method.sources(student, teachers, batch) is teachers
    weighed = METHODS[name](edges="weigher")
    weighed.build(student, teachers)
    weighed.load_state_dict(method.state_dict())
    terms = weighed.loss(student, teachers, batch)
    sources = weighed.sources(student, teachers, batch)
    assert list(terms) == [f"{name}/{source}" for source in sources]
    even = torch.stack([there(source, student.logits) for source in sources.values()], dim=1).double()
    even = even / even.sum(1, keepdim=True)
    torch.testing.assert_close(torch.stack(list(terms.values()), dim=1).mul(even).sum(1), whole[name])
    assert weighed.edge_weights() == {}


@BOTH
def test_a_given_prior_is_followed_and_must_name_every_edge(made, name):
    method, student, teachers, batch = made(name, edges="weigher")
    edges = list(method.sources(student, teachers, batch))
    prior = {edge: 3.0 if edge == edges[1] else 1.0 for edge in edges}
    method = METHODS[name](edges="uniform", prior=prior)
    method.build(student, teachers)
    method.loss(student, teachers, batch)
    assert method.edge_weights()[f"{edges[1]}>text"][4].item() == pytest.approx(3 / (len(edges) + 2))
    assert method.edge_weights()[f"{edges[2]}>text"][4].item() == pytest.approx(1 / (len(edges) + 2))
    del prior[edges[1]]
    with pytest.raises(ValueError, match=f"{name}: the edges are .*{edges[1]}.*; prior has {edges[0]}, {edges[2]}"):
        METHODS[name](prior=prior).build(student, teachers)


@BOTH
@pytest.mark.parametrize("distance", ["cosine", "kl"])
def test_equal_answers_and_directions_are_no_distance_apart(draw, world, name, distance):
    """Every stream of student and teachers says the same, in every utterance of a conversation."""
    _, teachers, batch = world("streams")
    teacher = teachers["large"]
    logits, feature = draw(1, 4).expand(6, 4), draw(1, 5).expand(6, 5)
    teacher.logits = logits
    for modality in ("audio", "video", "text"):
        teacher.features[modality], teacher.features[f"{modality}.logits"] = feature, logits
    teacher.features["penultimate"] = feature
    student = Output(logits, features={"penultimate": 3 * feature})
    method = METHODS[name](edges="weigher", distance=distance, temperature=2.0)
    method.build(student, {"t": teacher})
    terms = method.double().loss(student, {"t": teacher}, batch)
    for source, term in terms.items():
        if source != "hypergraph/utterance":  # Its feature is that of all streams side by side.
            torch.testing.assert_close(term, torch.zeros(6).double(), atol=1e-12, rtol=0)


@BOTH
def test_with_kl_a_student_equal_to_its_teacher_is_no_distance_apart_in_the_same_stream(made, world, name):
    """Both sides are averaged over the same context, where the cosine holds a node against its context's mean."""
    _, teachers, batch = world("streams")
    teacher = teachers["large"]
    method = METHODS[name](edges="weigher", distance="kl", feature_weight=0.0, smoothing=0.7, temperature=3.0)
    student = Output(teacher.logits, features={"penultimate": teacher.features["penultimate"]})
    method.build(student, {"t": teacher})
    terms = method.loss(student, {"t": teacher}, batch)
    own = next(term for term in terms if term.startswith(f"{name}/t.fused"))
    torch.testing.assert_close(terms[own], torch.zeros(6).double(), atol=1e-12, rtol=0)
    assert all(value.abs().max() > 1e-3 for term, value in terms.items() if term != own)


@BOTH
def test_unsure_edges_are_left_out(made, name):
    method, student, teachers, batch = made(name, edges="weigher")
    everything = method.sources(student, teachers, batch)
    sure = METHODS[name](edges="weigher", reliability=0.4)
    sure.build(student, teachers)
    sure.load_state_dict(method.state_dict())
    some = sure.sources(student, teachers, batch)
    terms, fewer = method.loss(student, teachers, batch), sure.loss(student, teachers, batch)
    left_out = 0
    for edge, source in everything.items():
        p = source.logits.softmax(1)
        entropy = -(p * p.log()).sum(1) / math.log(4)
        kept = there(source, p) & (1 - entropy >= 0.4)
        assert torch.equal(there(some[edge], p), kept)
        torch.testing.assert_close(fewer[f"{name}/{edge}"], torch.where(kept, terms[f"{name}/{edge}"], 0.0))
        left_out += int((~kept & there(source, p)).sum())
    assert left_out > 5


@BOTH
def test_two_unimodal_teachers_are_two_streams(world, name):
    student, teachers, batch = world("sequence")
    method = METHODS[name]()
    method.build(student, teachers)
    terms = method.double().loss(student, teachers, batch)
    assert terms[name].isfinite().all()
    ends = {key.partition(">")[2] for key in method.edge_weights()}
    assert ends == {"fused"}


@BOTH
def test_one_unimodal_teacher_makes_no_structure(world, name):
    student, teachers, _ = world("sequence")
    message = rf"{name} needs two or more streams .*'large' is one, with the features h1, h2: take .* 'text\.logits'"
    with pytest.raises(ValueError, match=message):
        METHODS[name]().build(student, {"large": teachers["large"]})


@BOTH
def test_what_does_not_fit_is_named(made, name):
    method, student, teachers, batch = made(name)
    with pytest.raises(ValueError, match=f"{name} was built for large.*, and now the edges are small"):
        method.loss(student, {"small": teachers["small"]}, batch)
    with pytest.raises(ValueError, match="call build"):
        METHODS[name]().loss(student, teachers, batch)
    with pytest.raises(ValueError, match=f"{name}: the student answers 6 samples in 3 classes.* is of 6 in 4"):
        method.loss(Output(student.logits[:, :3], features=three(student)), teachers, batch)


def three(student):
    """Features whose answers have three classes."""
    return {layer: x[:, :3] if layer.endswith("logits") else x for layer, x in student.features.items()}


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [{"edges": "all"}, {"distance": "l2"}, {"smoothing": 1.5}, {"reliability": -1}, {"temperature": 0}, {"width": 0},
     {"prior": "authors"}, {"prior": {}}, {"prior": {"a": 0.0}}, {"regularity": -1}],
    ids=str,
)  # fmt: skip
def test_wrong_hyperparameters_are_refused(name, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        METHODS[name](**wrong)


def test_what_the_node_says_plays_a_part_in_its_weights(draw):
    """A linear score's part of the node would cancel in the softmax."""
    codes, v = draw(2, 3, 5), draw(5)
    one, other = edge_scores(draw(2, 5), codes, v), edge_scores(draw(2, 5), codes, v)
    assert (one.softmax(1) - other.softmax(1)).abs().max() > 0.05
