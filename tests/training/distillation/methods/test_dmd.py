import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training.distillation.methods.talk import PRESENT, labels, leaves, rows, speaker
from training.distillation import Context, Example, Plain, make_distiller, make_step
from training.distillation.methods.decoupling import Codes, decoupling
from training.distillation.methods.dmd import DMD, SPACES
from training.distillation.methods.dmd_graph import Nodes, graph
from training.distillation.outputs import Batch, Output
from training.distillation.weighers import WEIGHERS
from training.models.teachers import DmdNet

ALL, BOTH = ("audio", "video", "text"), ("audio", "text")


def talk(draw, heard=ALL):
    teachers = {"t": speaker(draw, 6), "u.v": speaker(draw, 4, heard=("text",))}
    return speaker(draw, 5, PRESENT, heard), teachers, labels(draw)


def built(student, teachers, **options):
    torch.manual_seed(0)
    method = DMD(width=4, hidden=3, **options)
    method.build(student, teachers)
    return method


def label_loss(said, i, batch, kind):
    if kind == "score":
        return (said[0] - batch.score[i]).abs()
    return said.logsumexp(0) - said[batch.target[i]]


def heads_by_loops(method, codes, batch, kind, fused):
    losses = []
    for i in range(7):
        loss = torch.zeros((), dtype=torch.float64)
        for space in SPACES:
            for m, code in getattr(codes, space).items():
                if codes.there[m][i]:
                    loss = loss + label_loss(method.heads[space][m](code[i]), i, batch, kind)
        if fused:
            common = torch.cat([code[i] for code in codes.common.values()])
            whole = torch.cat([common, *(code[i] for code in codes.private.values())])
            for name, vector in (("common", common), ("all", whole)):
                loss = loss + label_loss(method.fused_heads[name](vector), i, batch, kind)
        losses.append(loss)
    return torch.stack(losses)


@pytest.mark.parametrize("kind", ["score", "target"])
@pytest.mark.parametrize("heard", [ALL, BOTH])
def test_terms_are_made_of_their_parts(draw, kind, heard):
    student, teachers, batch = talk(draw, heard)
    factors = {"heads": 2.0, "graph": 3.0, "decoupling": 5.0, "gamma": 0.7, "margin": 0.2}
    weighing = {"says": 0.5, "codes": 4.0, "regulariser": 6.0}
    method = built(student, teachers, labels=kind, **factors, **weighing)
    terms = method.loss(student, teachers, batch)
    ours = method.sides["student"](student, method.encoders)
    for number, (name, teacher) in enumerate(teachers.items()):
        theirs = method.sides[f"teacher{number}"](teacher, method.encoders)
        heads = heads_by_loops(method, ours, batch, kind, True) + heads_by_loops(method, theirs, batch, kind, False)
        torch.testing.assert_close(terms[f"dmd_heads/{name}"], 2 * heads)
        parts = decoupling(ours, batch.target, 0.2, 0.7) + decoupling(theirs, batch.target, 0.2, 0.7)
        torch.testing.assert_close(terms[f"dmd_decoupling/{name}"], 5 * parts)
        flows = []
        for space in SPACES:
            both = [
                Nodes(
                    torch.stack([method.heads[space][m](c) for m, c in getattr(codes, space).items()], 1),
                    torch.stack([*getattr(codes, space).values()], 1),
                    torch.stack([*codes.there.values()], 1),
                )
                for codes in (ours, theirs)
            ]
            edges = method.edges[f"{space}_teacher{number}"]
            value, weights = graph(*both, edges, (0.5, 4.0, 6.0))
            flows.append(value)
            names = [f"{space}.{name}.{source}>{target}" for target in ours.common for source in theirs.common]
            for column, edge in enumerate(names):
                assert torch.equal(method.edge_weights()[edge], weights[:, column].detach())
        torch.testing.assert_close(terms[f"dmd_graph/{name}"], 3 * sum(flows))


def test_three_modalities_have_eight_heads(draw):
    student, teachers, _ = talk(draw)
    method = built(student, {"t": teachers["t"]})
    heads = [head for group in (*method.heads.values(), method.fused_heads) for head in group.values()]
    assert len(heads) == 8
    assert all(head.out_features == 1 for head in heads)


def test_a_student_equal_to_its_teacher_has_equal_codes(draw):
    teacher = speaker(draw, 5)
    method = built(teacher, {"t": teacher})
    method.sides["teacher0"].load_state_dict(method.sides["student"].state_dict())
    ours, theirs = (method.sides[key](teacher, method.encoders) for key in ("student", "teacher0"))
    for space in SPACES:
        for m in ALL:
            assert torch.equal(getattr(ours, space)[m], getattr(theirs, space)[m])


def test_absent_modalities_have_no_edges(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    method.loss(student, teachers, batch)
    for edge, weights in method.edge_weights().items():
        here = PRESENT[:, ALL.index(edge.rpartition(">")[2])] > 0
        assert weights[here].gt(0).all()
        assert weights[~here].eq(0).all()
        assert not weights.requires_grad
    total = sum(weights for edge, weights in method.edge_weights().items() if edge.startswith("common.t."))
    torch.testing.assert_close(total, torch.ones(7, dtype=torch.float64))


def test_everything_that_is_trained_gets_a_gradient(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers)
    ours = leaves(student)
    terms = method.loss(ours, teachers, batch)
    sum(value @ torch.arange(1.0, 8.0).double() for value in terms.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    assert all(ours.features[m].grad.abs().sum() > 0 for m in ALL)


def test_a_student_may_make_codes_of_its_own(draw):
    _, teachers, batch = talk(draw)
    torch.manual_seed(0)
    net = DmdNet(dict.fromkeys(ALL, 5), (-1.0, 0.0, 1.0), width=6, dropout=0.0)
    inputs = {m: draw(7, 5) for m in ALL} | {"present": PRESENT, "conversation": batch.unit}
    said = net(inputs)  # In float32, as all nets read their inputs.
    features = {name: feature.double() for name, feature in said.features.items()}
    student = replace(said, logits=said.logits.double(), score=said.score.double(), features=features)
    method = built(student, teachers)
    assert "student" not in method.sides
    assert method.encoders.common.in_features == 6
    terms = method.loss(student, teachers, batch)
    theirs = method.sides["teacher0"](teachers["t"], method.encoders)
    parts = decoupling(Codes.given(student), batch.target, 0.1, 0.1) + decoupling(theirs, batch.target, 0.1, 0.1)
    torch.testing.assert_close(terms["dmd_decoupling/t"], 0.1 * parts)
    terms["dmd_graph/t"].mean().backward()
    assert net.common.weight.grad.abs().sum() > 0
    assert all(encoder.weight.grad.abs().sum() > 0 for encoder in net.private.values())


class Talker(nn.Module):
    """Three modalities out of one vector."""

    def __init__(self):
        super().__init__()
        self.read = nn.ModuleDict({m: nn.Linear(4, 5) for m in ALL})
        self.last = nn.Linear(15, 3)

    def forward(self, inputs):
        features = {m: torch.tanh(read(inputs)) for m, read in self.read.items()}
        logits = self.last(torch.cat([*features.values()], 1))
        return Output(logits, features={**features, "penultimate": features["text"]})


@pytest.mark.parametrize("weigher", WEIGHERS)
def test_it_goes_with_every_weigher(draw, weigher):
    examples = []
    for _ in range(2):
        teachers = {name: speaker(draw, width) for name, width in (("t", 6), ("u", 4))}
        examples.append(Example(draw(7, 4), labels(draw), teachers))
    distiller = make_distiller(Talker().double(), {"dmd": {"labels": "target"}}, {"name": weigher})
    distiller.build(examples[0])
    plain = Plain(distiller, torch.optim.AdamW(distiller.learnt_by_loss(), lr=1e-2))
    step = make_step(plain, Context(distiller, HeldOut(examples[0])), {})
    for example in examples:
        metrics = step(example)
    assert all(value.isfinite() for value in metrics.values())


class HeldOut:
    """A few held-out samples."""

    def __init__(self, example):
        self.example = example

    def __len__(self):
        return len(self.example.inputs)

    def fetch(self, indices):
        return Example(self.example.inputs[indices], Batch(target=self.example.batch.target[indices]))


def test_unlabelled_samples_train_no_head(draw):
    student, teachers, batch = talk(draw)
    batch.score[2], batch.target[2] = math.nan, -1
    for kind in ("score", "target"):
        terms = built(student, teachers, labels=kind).loss(student, teachers, batch)
        assert terms["dmd_heads/t"][2] == 0
        assert all(value.isfinite().all() for value in terms.values())


def test_samples_do_not_depend_on_each_other_but_in_margin_and_regulariser(draw):
    student, teachers, batch = talk(draw)
    method = built(student, teachers, gamma=0.0, regulariser=0.0)
    whole = method.loss(student, teachers, batch)
    some = torch.tensor([6, 2, 4])
    few = {name: rows(teacher, some) for name, teacher in teachers.items()}
    part = method.loss(rows(student, some), few, replace(batch, target=batch.target[some], score=batch.score[some]))
    for name, value in whole.items():
        torch.testing.assert_close(part[name], value[some])


def test_mistakes_are_named(draw):
    student, teachers, batch = talk(draw)
    alone = Output(features={"h1": draw(7, 3), "penultimate": draw(7, 3)})
    with pytest.raises(ValueError, match=r"dmd needs a feature of at least one modality .* teacher 't' gives h1, pen"):
        built(student, {"t": alone})
    with pytest.raises(ValueError, match="the student gives h1, penultimate"):
        built(alone, teachers)
    with pytest.raises(ValueError, match="dmd needs at least one teacher"):
        built(student, {})
    with pytest.raises(ValueError, match="the student gives no logits"):
        built(replace(student, logits=None), teachers, labels="target")
    with pytest.raises(ValueError, match=r"dmd: call build\(student, teachers\) once"):
        DMD().loss(student, teachers, batch)
    method = built(student, {"t": teachers["t"]})
    with pytest.raises(ValueError, match="dmd was built without teacher 'w'"):
        method.loss(student, {"w": teachers["t"]}, batch)
    with pytest.raises(ValueError, match="the batch has none; set labels"):
        method.loss(student, {"t": teachers["t"]}, replace(batch, score=None))
    with pytest.raises(ValueError, match="dmd needs the class of every sample"):
        method.loss(student, {"t": teachers["t"]}, replace(batch, target=None))
    with pytest.raises(ValueError, match="prior must be one of uniform, authors, got 'luo'"):
        DMD(prior="luo")
