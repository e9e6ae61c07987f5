import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training.distillation.methods.talk import PRESENT, labels, leaves, rows, speaker, spoilt
from training.distillation.methods.cmd import CMD, Attending, mapping, tokens_of
from training.distillation.methods.modalities import rows_with
from training.distillation.outputs import Batch, Output

BOTH = ("audio", "text")


def built(student, teachers, **options):
    torch.manual_seed(0)
    method = CMD(width=4, heads=2, **options)
    method.build(student, teachers)
    return method


def talk(draw, heard=BOTH):
    return speaker(draw, 5, PRESENT, heard), {"t": speaker(draw, 6, heard=heard)}, labels(draw)


def mapping_by_loops(s, t, valid, temperature):
    s, t = (nn.functional.normalize(x.detach(), dim=1) for x in (s, t))
    losses = []
    for i in range(len(s)):
        loss = 0.0
        for anchors, others in ((s, t), (t, s)):
            scores = [math.exp(float(anchors[i] @ others[j]) / temperature) for j in range(len(s)) if valid[j]]
            loss -= math.log(math.exp(float(anchors[i] @ others[i]) / temperature) / sum(scores)) / 2
        losses.append(loss if valid[i] else 0.0)
    return torch.tensor(losses, dtype=torch.float64)


def test_mapping_by_loops(draw):
    s, t = draw(6, 4), draw(6, 4)
    valid = torch.tensor([True, True, False, True, True, False])
    torch.testing.assert_close(mapping(s, t, valid, 0.3), mapping_by_loops(s, t, valid, 0.3))


def test_mapping_has_its_limits(draw):
    valid = torch.ones(5, dtype=torch.bool)
    same = torch.eye(5, dtype=torch.float64)
    # Orthogonal embeddings: one positive with e^(1 / T) against four with 1.
    expected = torch.full((5,), math.log(1 + 4 * math.exp(-1 / 0.2)), dtype=torch.float64)
    torch.testing.assert_close(mapping(same, same, valid, 0.2), expected)
    constant = torch.ones(5, 3, dtype=torch.float64)
    torch.testing.assert_close(
        mapping(constant, draw(1, 3).expand(5, 3), valid, 0.2).exp(), torch.full((5,), 5.0).double()
    )
    assert mapping(draw(1, 3), draw(1, 3), valid[:1], 0.1).abs() < 1e-12  # Alone, there is nothing to confuse.


def attention_by_loops(attention, queries, context):
    """One sample's attention: lists of vectors; [] where there is nothing to look at."""
    found = []
    for query in queries:
        q = attention.query(query).view(attention.heads, -1)
        keys = [attention.key(x).view(attention.heads, -1) for x in context]
        values = [attention.value(x).view(attention.heads, -1) for x in context]
        heads = []
        for h in range(attention.heads):
            weights = torch.stack([q[h] @ key[h] * q.shape[1] ** -0.5 for key in keys]).exp()
            heads.append(sum(w * v[h] for w, v in zip(weights / weights.sum(), values, strict=True)))
        found.append(attention.out(torch.cat(heads)))
    return found


def attended_by_loops(attending, student):
    """What the attention makes of every sample, with lists that hold only what is there."""
    results = []
    for i in range(len(PRESENT)):
        streams = []
        for name, key in attending.order.items():
            there = bool(rows_with(student, name)[i])
            streams.append([attending.norm(attending.project[key](student.features[name][i]))] if there else [])
        mixed = []
        for m, stream in enumerate(streams):
            others = [x for n, other in enumerate(streams) if n != m for x in other]
            found = attention_by_loops(attending.cross, stream, others) if others else [0.0] * len(stream)
            mixed += [x + y for x, y in zip(stream, found, strict=True)]
        final = [x + y for x, y in zip(mixed, attention_by_loops(attending.within, mixed, mixed), strict=True)]
        results.append(sum(final) / len(final) if final else torch.zeros(attending.norm.weight.shape[0]).double())
    return torch.stack(results)


@pytest.mark.parametrize("heard", [BOTH, ("audio", "video", "text")])
def test_terms_by_loops(draw, heard):
    student, teachers, batch = talk(draw, heard)
    method = built(student, teachers, temperature=0.4, mapping=2.0, attention=3.0)
    terms = method.loss(student, teachers, batch)
    assert set(terms) == {"cmd_mapping/t", "cmd_attention/t"}
    teacher, spaces = teachers["t"], method.adapters
    expected = torch.zeros(len(PRESENT), dtype=torch.float64)
    for layer in (*heard, "penultimate"):
        space = spaces[f"t:{layer}-{layer}"]
        s, t = space.project_student(student.features[layer]), space.project_teacher(teacher.features[layer])
        expected += mapping_by_loops(s, t, rows_with(student, layer), 0.4)
    torch.testing.assert_close(terms["cmd_mapping/t"], 2 * expected)
    space = spaces["t:attended-penultimate"]
    s = space.project_student(attended_by_loops(method.attending, student))
    t = space.project_teacher(teacher.features["penultimate"])
    there = rows_with(student, "penultimate")
    torch.testing.assert_close(terms["cmd_attention/t"], 3 * mapping_by_loops(s, t, there, 0.4))


def test_absent_modalities_reach_neither_value_nor_gradient(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    plain = method.loss(student, teachers, batch)
    ours = leaves(spoilt(student))
    terms = method.loss(ours, teachers, batch)
    for name, value in plain.items():
        torch.testing.assert_close(terms[name], value)
    sum(value.sum() for value in terms.values()).backward()
    for modality in BOTH:
        grad, there = ours.features[modality].grad, rows_with(student, modality)
        assert grad.isfinite().all()
        assert grad[~there].eq(0).all()
        assert grad[there].abs().sum(1).gt(0).all()


def test_a_sample_with_nothing_has_no_loss_and_is_nobodys_negative(draw):
    student, teachers, batch = talk(draw)
    student.present = PRESENT.clone()
    student.present[3] = 0
    method = built(student, teachers)
    terms = method.loss(student, teachers, batch)
    others = torch.tensor([0, 1, 2, 4, 5, 6])
    without = method.loss(rows(student, others), {"t": rows(teachers["t"], others)}, batch)
    for name, value in terms.items():
        assert value[3] == 0
        torch.testing.assert_close(value[others], without[name])


def test_terms_follow_their_samples(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    order = torch.tensor([3, 0, 5, 1, 6, 4, 2])
    moved = method.loss(rows(student, order), {"t": rows(teachers["t"], order)}, batch)
    for name, value in method.loss(student, teachers, batch).items():
        torch.testing.assert_close(moved[name], value[order])


def test_gradients_agree_with_differences(draw):
    student, teachers, batch = talk(draw, ("audio", "video", "text"))
    method = built(student, teachers)
    layers = ["audio", "video", "text", "penultimate"]

    def terms(*features):
        changed = replace(student, features={**student.features, **dict(zip(layers, features, strict=True))})
        return tuple(method.loss(changed, teachers, batch).values())

    torch.autograd.gradcheck(
        terms, [student.features[layer].clone().requires_grad_() for layer in layers], fast_mode=True
    )


def test_a_unimodal_student_attends_within_its_steps_and_has_no_partner(draw):
    """A listener that learns from a listener and from one that sees faces."""
    steps = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    student = Output(
        features={"h1": draw(3, 3, 4), "h2": draw(3, 3, 5), "penultimate": draw(3, 6)}, masks={"h2": steps}
    )
    teachers = {"whisper": Output(features={"h1": draw(3, 3, 7), "penultimate": draw(3, 8)}),
                "action_units": Output(features={"penultimate": draw(3, 2)})}  # fmt: skip
    method = built(student, teachers)
    assert method.attending.cross is None
    assert list(tokens_of(student)) == ["h2"]
    terms = method.loss(student, teachers, Batch())
    assert set(terms) == {f"cmd_{part}/{name}" for part in ("mapping", "attention") for name in teachers}
    for name, teacher in teachers.items():
        space = method.adapters[f"{name}:penultimate-penultimate"]
        s = space.project_student(student.features["penultimate"])
        t = space.project_teacher(teacher.features["penultimate"])
        torch.testing.assert_close(terms[f"cmd_mapping/{name}"], mapping_by_loops(s, t, [True] * 3, 0.1))
    attending = method.attending
    for i in range(3):
        tokens = [attending.norm(attending.project["0"](student.features["h2"][i, n])) for n in range(3) if steps[i, n]]
        final = [x + y for x, y in zip(tokens, attention_by_loops(attending.within, tokens, tokens), strict=True)]
        torch.testing.assert_close(attending(tokens_of(student))[i], sum(final) / len(final))


def test_a_student_without_steps_has_the_mapping_alone(draw):
    student = Output(features={"h1": draw(3, 4, 2, 2), "penultimate": draw(3, 6)})
    teachers = {"t": Output(features={"penultimate": draw(3, 8)})}
    method = built(student, teachers)
    assert method.attending is None
    assert set(method.loss(student, teachers, Batch())) == {"cmd_mapping/t"}


def test_a_multimodal_student_meets_a_unimodal_teacher_with_its_fused_feature(draw):
    student = speaker(draw, 5, PRESENT, BOTH)
    teachers = {"t": Output(features={"h1": draw(7, 3, 4), "penultimate": draw(7, 8)})}
    method = built(student, teachers)
    assert set(method.adapters) == {"t:penultimate-penultimate", "t:attended-penultimate"}
    assert method.loss(student, teachers, Batch())["cmd_attention/t"].isfinite().all()


def test_without_weight_there_is_no_attention(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers, attention=0.0)
    assert set(method.loss(student, teachers, batch)) == {"cmd_mapping/t"}
    assert not any("attended" in key for key in method.adapters)


def test_a_single_sample_is_harmless(draw):
    student, teachers, batch = talk(draw)
    first = torch.tensor([0])
    method = built(student, teachers)
    for value in method.loss(rows(student, first), {"t": rows(teachers["t"], first)}, batch).values():
        torch.testing.assert_close(value, torch.zeros(1, dtype=torch.float64))


def test_mistakes_are_named(draw):
    with pytest.raises(ValueError, match="heads must divide width, got 4 heads and a width of 6"):
        CMD(width=6, heads=4)
    student, teachers, batch = talk(draw)
    with pytest.raises(ValueError, match=r"cmd: call build\(student, teachers\) once"):
        CMD().loss(student, teachers, batch)
    method = built(student, teachers)
    with pytest.raises(
        ValueError, match="cmd was built for audio, text of the student, and now has audio, video, text"
    ):
        method.loss(speaker(draw, 5, PRESENT), teachers, batch)
    with pytest.raises(ValueError, match="student, and now has text"):
        Attending({"audio": 3}, 4, 2)({"text": (draw(1, 1, 3), torch.ones(1, 1))})
