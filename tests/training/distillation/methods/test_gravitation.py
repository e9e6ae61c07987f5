"""Forces between what the teacher knows of all samples and what the student makes of each."""

import math

import pytest
import torch

from training.distillation.methods import METHODS
from training.distillation.methods.gravitation import information, pairwise_kl, shares
from training.distillation.methods.streams import LAYER, own_streams, streams_of, there


def probabilities(logits, temperature=1.0):
    powers = [math.exp(z / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def bits(logits):
    return math.log2(len(logits)) + sum(p * math.log2(p) for p in probabilities(logits))


def cosine(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))


def test_information_in_bits(draw):
    logits = 3 * draw(5, 4)
    assert information(logits).tolist() == pytest.approx([bits(row) for row in logits.tolist()])
    assert information(torch.zeros(1, 8)).item() == 0
    assert information(torch.tensor([[300.0, 0, 0, 0]])).item() == pytest.approx(2)


def test_pairwise_divergences_by_loops(draw):
    teacher, student = draw(3, 4), draw(5, 4)
    p, q = [[probabilities(row) for row in z.tolist()] for z in (teacher, student)]
    expected = [[sum(a * math.log(a / b) for a, b in zip(x, y, strict=True)) for x in p] for y in q]
    torch.testing.assert_close(pairwise_kl(teacher, student), torch.tensor(expected, dtype=torch.float64))


def test_shares_are_divided_forces_and_what_stays_at_home():
    force = torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    own = torch.tensor([[True, False, True], [False, True, False]])
    expected = torch.tensor([[0.8 * 0.25 + 0.1, 0.8 * 0.75, 0.1], [0.0, 0.2, 0.0]])
    torch.testing.assert_close(shares(force, own, 0.2), expected)


@pytest.mark.parametrize("own", [0.0, 0.3])
def test_the_loss_by_loops_over_all_pairs(world, own):
    student, teachers, batch = world("streams")
    method = METHODS["gravitation"](own=own, temperature=2.0, softening=0.2, feature=0.7, response=1.5)
    method.build(student, teachers)
    terms = method.double().loss(student, teachers, batch)
    streams = own_streams(student)
    for name, teacher in teachers.items():
        bodies = streams_of(name, teacher)
        for i in range(6):
            drawn = [
                by_loops(method, stream, streams[stream], bodies, i)
                for stream in streams
                if there(streams[stream], student.logits)[i]
            ]
            assert terms[f"gravitation/{name}"][i].item() == pytest.approx(sum(drawn) / len(drawn))


def by_loops(method, stream, node, bodies, i):
    config = method.config
    forces, transfers, homes = {}, {}, []
    mine = bits(node.logits[i].tolist())  # It cancels.
    for name, body in bodies.items():
        projection = method.projections[f"{stream}>{name}".replace(".", "%2E")]
        projected = projection(node.features[LAYER][i]).tolist()
        for j in range(6):
            if not there(body, node.logits)[j]:
                continue
            squared = 2 * (1 - cosine(projected, body.features[LAYER][j].tolist()))
            forces[name, j] = mine * bits(body.logits[j].tolist()) / (squared + config.softening**2)
            p, q = (probabilities(z.tolist(), config.temperature) for z in (body.logits[j], node.logits[i]))
            answers = config.temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            transfers[name, j] = config.response * answers + config.feature * squared / 2
            homes += [(name, j)] * (i == j)
    weights = {key: (1 - config.own) * force / sum(forces.values()) for key, force in forces.items()}
    for home in homes:
        weights[home] += config.own / len(homes)
    assert sum(weights.values()) == pytest.approx(1)
    for name in bodies:
        known = method.edge_weights()[f"{name}>{stream}"][i].item()
        assert known == pytest.approx(sum(weight for (body, _), weight in weights.items() if body == name))
    return sum(weights[key] * transfers[key] for key in weights)


def test_the_surer_and_the_nearer_attract_more(draw, world):
    student, teachers, batch = world("vector")
    teacher = teachers["small"]
    student.features = {LAYER: draw(6, 5)}
    teacher.features = {LAYER: student.features[LAYER].clone()}
    method = METHODS["gravitation"](own=0.0, softening=0.01)
    method.build(student, {"t": teacher})
    method.double()

    near = method.loss(student, {"t": teacher}, batch)["gravitation/t"]
    alone = torch.stack([pairwise_kl(teacher.logits / 4, student.logits / 4)[i, i] for i in range(6)]) * 16
    torch.testing.assert_close(near, alone, rtol=0.02, atol=0.02)  # Where bodies meet, they attract each other alone.
    teacher.features[LAYER] = draw(1, 5).expand(6, 5)
    teacher.logits = torch.zeros(6, 4).double()
    teacher.logits[2, 0] = 5.0
    far = method.loss(student, {"t": teacher}, batch)["gravitation/t"]
    sure = pairwise_kl(teacher.logits / 4, student.logits / 4)[:, 2] * 16
    features = 1 - torch.nn.functional.cosine_similarity(student.features[LAYER], teacher.features[LAYER])
    torch.testing.assert_close(far, sure + features)


def test_a_teacher_that_knows_nothing_attracts_nobody(world):
    student, teachers, batch = world("vector")
    teacher = teachers["small"]
    teacher.logits = torch.zeros(6, 4).double()
    for own, stays in ((0.0, 0.0), (0.4, 0.4)):
        method = METHODS["gravitation"](own=own)
        method.build(student, {"t": teacher})
        method.double().loss(student, {"t": teacher}, batch)
        torch.testing.assert_close(method.edge_weights()["t.fused>fused"], torch.full((6,), stays).double())


def test_what_does_not_fit_is_named(world):
    student, teachers, batch = world("streams")
    method = METHODS["gravitation"]()
    with pytest.raises(ValueError, match=r"gravitation was built without large\.audio for 'audio'; build it"):
        method.loss(student, teachers, batch)
    teachers["small"].logits = teachers["small"].logits[:, :3]
    with pytest.raises(ValueError, match=r"same classes, got .*'small\.fused': 3"):
        method.build(student, teachers)


@pytest.mark.parametrize("wrong", [{"own": 1.5}, {"softening": 0}, {"temperature": 0}, {"feature": -1}], ids=str)
def test_wrong_hyperparameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        METHODS["gravitation"](**wrong)
