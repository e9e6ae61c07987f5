from dataclasses import replace

import pytest
import torch

from tests.training.distillation.methods.talk import PRESENT, leaves, speaker, spoilt
from training.distillation.methods.decoupling import (
    Codes,
    Encoders,
    Side,
    cycle,
    decoupling,
    hinges,
    margin_loss,
    orthogonality,
)
from training.distillation.methods.decoupling import reconstruction as reconstruction_of
from training.distillation.outputs import Output

HEARD = ("audio", "video", "text")
CLASSES = torch.tensor([0, 1, 0, 1, 0, -1, 1])


def coded(draw, student=None, width=4):
    student = speaker(draw, 5, PRESENT) if student is None else student
    torch.manual_seed(0)
    encoders, side = Encoders(HEARD, width).double(), Side(dict.fromkeys(HEARD, 5), width).double()
    return encoders, side, student


def cosine(x, y):
    return float(torch.nn.functional.cosine_similarity(x.detach(), y.detach(), dim=0))


def there(codes, modality, i):
    return bool(codes.there[modality][i])


def margin_by_loops(codes, classes, margin):
    """The mean over all triples, and by anchor what each sample adds to it."""
    count, by_anchor = 0, [0.0] * len(classes)
    nodes = [(i, m) for m in codes.common for i in range(len(classes)) if there(codes, m, i) and classes[i] >= 0]
    for i, m in nodes:
        for j, n in nodes:
            for k, o in nodes:
                if m != n and m == o and classes[i] == classes[j] and classes[i] != classes[k]:
                    count += 1
                    near, far = (cosine(codes.common[m][i], codes.common[x][y]) for x, y in ((n, j), (o, k)))
                    by_anchor[i] += max(0.0, margin - near + far)
    return torch.tensor(by_anchor, dtype=torch.float64) * len(classes) / max(count, 1)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.7])
def test_the_margin_by_loops(draw, margin):
    encoders, side, student = coded(draw)
    codes = side(student, encoders)
    torch.testing.assert_close(margin_loss(codes, CLASSES, margin), margin_by_loops(codes, CLASSES, margin))


def test_the_margin_has_its_limits(draw):
    everywhere = torch.ones(4, dtype=torch.bool)
    classes = torch.tensor([0, 0, 1, 1])
    # Codes that say the class and nothing else, in both modalities: positives at 1, negatives at -1.
    apart = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]) @ draw(1, 3).float()
    codes = Codes(there={"audio": everywhere, "text": everywhere}, common={"audio": apart, "text": 2 * apart})
    assert margin_loss(codes, classes, 0.5).abs().max() < 1e-6
    # Where all codes are one, every triple costs the margin.
    codes.common = {"audio": torch.ones(4, 3), "text": torch.ones(4, 3)}
    torch.testing.assert_close(margin_loss(codes, classes, 0.5), torch.full((4,), 0.5))
    # The mean over triples is that over the batch, whoever the anchors are.
    assert margin_loss(codes, torch.zeros(4).long(), 0.5).eq(0).all()
    assert margin_loss(codes, torch.full((4,), -1), 0.5).eq(0).all()
    alone = Codes(there={"text": everywhere}, common={"text": draw(4, 3)})
    assert margin_loss(alone, classes, 0.5).eq(0).all()


def test_sums_of_hinges_are_those_of_all_pairs(draw):
    positive, negative = draw(6, 9), draw(6, 5)
    is_positive, is_negative = draw(6, 9) > 0, draw(6, 5) > 0
    is_positive[0], is_negative[1] = False, False
    pairs = (0.3 - positive.unsqueeze(2) + negative.unsqueeze(1)).clamp_min(0)
    expected = (pairs * (is_positive.unsqueeze(2) & is_negative.unsqueeze(1))).sum((1, 2))
    torch.testing.assert_close(hinges(positive, is_positive, negative, is_negative, 0.3), expected)
    torch.autograd.gradcheck(
        lambda p, n: hinges(p, is_positive, n, is_negative, 0.3),
        (positive.requires_grad_(), negative.requires_grad_()),
    )


def test_codes_and_losses_by_loops(draw):
    encoders, side, student = coded(draw)
    codes = side(student, encoders)
    rebuilt, cycled, turned = ([0.0] * 7 for _ in range(3))
    for m in HEARD:
        for i in (i for i in range(7) if there(codes, m, i)):
            x = student.features[m][i]
            entered = side.enter[m](x)
            common, private = encoders.common(entered), encoders.private[m](entered)
            torch.testing.assert_close(codes.common[m][i], common)
            torch.testing.assert_close(codes.private[m][i], private)
            back = side.leave[m](torch.cat([common, private]))
            again = encoders.private[m](side.enter[m](back))
            rebuilt[i] += sum((a - b) ** 2 for a, b in zip(back.tolist(), x.tolist(), strict=True)) / 5
            cycled[i] += sum((a - b) ** 2 for a, b in zip(again.tolist(), private.tolist(), strict=True)) / 4
            turned[i] += cosine(common, private) ** 2
    expected = [torch.tensor(values, dtype=torch.float64) for values in (rebuilt, cycled, turned)]
    found = reconstruction_of(codes), cycle(codes), orthogonality(codes)
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted)
    whole = expected[0] + expected[1] + 0.3 * (margin_by_loops(codes, CLASSES, 0.1) + expected[2])
    torch.testing.assert_close(decoupling(codes, CLASSES, margin=0.1, gamma=0.3), whole)


def test_halves_that_are_kept_apart_lose_nothing(draw):
    """Common code: the first half of what is there, private: the second; the way back puts them together."""
    encoders, side, student = coded(draw, speaker(draw, 4, PRESENT), width=4)
    side = Side(dict.fromkeys(HEARD, 4), 4).double()
    half = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64).diag()
    rest = torch.eye(4).double() - half
    with torch.no_grad():
        for parameter in (*encoders.parameters(), *side.parameters()):
            parameter.zero_()
        encoders.common.weight.copy_(half)
        for m in HEARD:
            encoders.private[m].weight.copy_(rest)
            side.enter[m].weight.copy_(torch.eye(4))
            side.leave[m].weight.copy_(torch.cat([half, rest], 1))
    codes = side(student, encoders)
    for loss in (reconstruction_of, cycle, orthogonality):
        torch.testing.assert_close(loss(codes), torch.zeros(7, dtype=torch.float64))
    # Codes of one direction or of opposite ones are as far from orthogonal as can be.
    codes.private = {m: -common for m, common in codes.common.items()}
    present = torch.stack([codes.there[m] for m in HEARD]).sum(0)
    torch.testing.assert_close(orthogonality(codes), present.double())


def test_absent_modalities_reach_neither_value_nor_gradient(draw):
    encoders, side, student = coded(draw)
    plain = decoupling(side(student, encoders), CLASSES, 0.1, 0.1)
    ours = leaves(spoilt(student))
    value = decoupling(side(ours, encoders), CLASSES, 0.1, 0.1)
    torch.testing.assert_close(value, plain)
    value.sum().backward()
    for place, m in enumerate(HEARD):
        grad, has = ours.features[m].grad, PRESENT[:, place] > 0
        assert grad.isfinite().all()
        assert grad[~has].eq(0).all()
        assert grad[has].abs().sum(1).gt(0).all()
    assert all(p.grad.isfinite().all() for p in (*side.parameters(), *encoders.parameters()))


def test_gradients_agree_with_differences(draw):
    encoders, side, student = coded(draw)

    def loss(*features):
        changed = replace(student, features=dict(zip(HEARD, features, strict=True)))
        return decoupling(side(changed, encoders), CLASSES, 0.1, 0.1)

    inputs = [student.features[m].clone().requires_grad_() for m in HEARD]
    torch.autograd.gradcheck(loss, inputs, fast_mode=True)
    torch.autograd.gradgradcheck(loss, inputs, fast_mode=True)


def test_a_net_may_give_codes_of_its_own(draw):
    encoders, side, student = coded(draw)
    made = side(student, encoders)
    features = dict(student.features)
    for m in HEARD:
        parts = {"input": made.inputs, "reconstructed": made.reconstructed, "common": made.common}
        parts |= {"private": made.private, "cycled": made.cycled}
        features |= {f"{m}.{part}": codes[m] for part, codes in parts.items()}
    given = Codes.given(spoilt(Output(features=features, present=student.present)))
    torch.testing.assert_close(decoupling(given, CLASSES, 0.1, 0.1), decoupling(made, CLASSES, 0.1, 0.1))
