import math

import pytest
import torch

from training.distillation.methods.crd import CRD, Contrast, infonce, nce, negatives
from training.distillation.outputs import Batch, Output


def outputs(draw, samples=4, ours=6, theirs=8):
    return Output(features={"h": draw(samples, ours)}), {"t": Output(features={"h": draw(samples, theirs)})}


def embeddings(contrast, student, teachers):
    s = torch.nn.functional.normalize(contrast.project_student(student.features["h"]))
    t = torch.nn.functional.normalize(contrast.project_teacher(teachers["t"].features["h"]))
    return s.tolist(), t.tolist()


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def direction_by_loops(form, anchors, others, ids, own_ids, temperature, mean):
    """Anchor i against the others, of which number i is its positive."""
    losses = []
    for i, anchor in enumerate(anchors):
        score = [math.exp(dot(anchor, other) / temperature) for other in others]
        negatives = [score[j] for j in range(len(others)) if ids[j] != own_ids[i]]
        if form == "infonce":
            losses.append(-math.log(score[i] / (score[i] + sum(negatives))))
        else:
            noise = max(len(negatives), 1) * mean
            losses.append(
                -math.log(score[i] / (score[i] + noise)) - sum(math.log(noise / (e + noise)) for e in negatives)
            )
    return losses


@pytest.mark.parametrize("form", ["nce", "infonce"])
def test_two_steps_by_loops(draw, form):
    """The first batch has only itself for negatives, the second also the first; sample 11 is in both."""
    method = CRD(form=form, temperature=0.5, width=3, queue=5, weight=1.0, momentum=0.0)
    first, second = outputs(draw), outputs(draw)
    method.build(*first)
    contrast = method.adapters["t:h-h"]
    ids_1, ids_2 = [10, 11, 12, 13], [11, 20, 21, 20]
    losses = [
        method.loss(*pair, Batch(index=torch.tensor(ids)))["crd/t"] for pair, ids in ((first, ids_1), (second, ids_2))
    ]
    s_1, t_1 = embeddings(contrast, *first)
    s_2, t_2 = embeddings(contrast, *second)

    def mean(anchors, others):
        return sum(math.exp(dot(a, b) / 0.5) for a in anchors for b in others) / len(anchors) / len(others)

    for got, s, t, queue_s, queue_t, ids, own in (
        (losses[0], s_1, t_1, [], [], ids_1, ids_1),
        (losses[1], s_2, t_2, s_1, t_1, ids_2 + ids_1, ids_2),
    ):
        over_students = direction_by_loops(form, t, s + queue_s, ids, own, 0.5, mean(t, s + queue_s))
        over_teachers = direction_by_loops(form, s, t + queue_t, ids, own, 0.5, mean(s, t + queue_t))
        expected = [a + b for a, b in zip(over_students, over_teachers, strict=True)]
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_nce_equals_the_authors_criterion_whatever_the_number_of_samples(draw):
    """RepDistiller divides by Z = M mean, and has m / M as noise: M cancels."""
    positive, negative, log_mean = draw(4), draw(4, 6), torch.tensor(0.3, dtype=torch.float64)
    ours = nce(positive, negative, torch.ones(4, 6, dtype=torch.bool), log_mean)
    for samples in (10, 1_000_000):
        z, noise = samples * log_mean.exp(), 6 / samples
        pos, neg = positive.exp() / z, negative.exp() / z
        theirs = -(pos / (pos + noise)).log() - (noise / (neg + noise)).log().sum(1)
        torch.testing.assert_close(ours, theirs)


def test_infonce_is_cross_entropy(draw):
    positive, negative = draw(4), draw(4, 6)
    expected = torch.nn.functional.cross_entropy(
        torch.cat([positive[:, None], negative], 1), torch.zeros(4, dtype=torch.long), reduction="none"
    )
    torch.testing.assert_close(infonce(positive, negative, torch.ones(4, 6, dtype=torch.bool)), expected)


def test_without_negatives_and_with_huge_scores_all_is_finite(draw):
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    positive = torch.tensor([1e4, -1e4], dtype=torch.float64, requires_grad=True)
    value = infonce(positive, draw(2, 3), nothing) + nce(positive, draw(2, 3), nothing, torch.zeros(()))
    value.sum().backward()
    assert value.isfinite().all()
    assert positive.grad.isfinite().all()


def test_the_queue_is_first_in_first_out_and_of_fixed_size(draw):
    contrast, config = Contrast(2, 2, 3, 5).double(), CRD().config
    for ids in ([1, 2], [3, 4], [5, 6]):
        contrast(draw(2, 2), draw(2, 2), Batch(index=torch.tensor(ids), target=torch.tensor(ids) % 2), config)
    assert contrast.indices.tolist() == [5, 6, 3, 4, 1]
    assert contrast.targets.tolist() == [1, 0, 1, 0, 1]
    torch.testing.assert_close(contrast.students.norm(dim=1), torch.ones(5, dtype=torch.float64))


def test_samples_of_one_class_are_nobodys_negatives_and_without_labels_others_are():
    index, target = torch.tensor([1, 2]), torch.tensor([0, -1])
    ids, classes = torch.tensor([1, 2, 3, 4, 5, -1]), torch.tensor([0, -1, 0, 1, -1, -1])
    assert negatives(index, target, ids, classes).tolist() == [
        [False, True, False, True, True, False],
        [True, False, True, True, True, False],
    ]


def test_z_follows_embeddings_that_gather(draw):
    """With Z of the first batch alone, its mean stays behind by the whole rise of the scores."""
    contrast, config = Contrast(2, 2, 3, 4).double(), CRD(temperature=0.1, momentum=0.5).config
    same = torch.ones(4, 2, dtype=torch.float64)
    contrast(draw(4, 2), draw(4, 2), Batch(index=torch.arange(4)), config)
    with torch.no_grad():
        contrast.project_teacher.load_state_dict(contrast.project_student.state_dict())
    for step in range(30):
        contrast(same, same, Batch(index=torch.arange(4) + 4 * step), config)
    torch.testing.assert_close(contrast.log_means, torch.full((2,), 10.0, dtype=torch.float64), atol=0.1, rtol=0)


def test_memory_does_not_grow_with_the_data_set(draw):
    def kept_elements(samples):
        method = CRD(width=4, queue=16)
        method.build(*outputs(draw))
        generator = torch.Generator().manual_seed(0)
        for _ in range(10):
            index = torch.randint(samples, (4,), generator=generator)
            kept = []
            with torch.autograd.graph.saved_tensors_hooks(
                lambda x, kept=kept: (kept.append(x.numel()), x)[1], lambda x: x
            ):
                method.loss(*outputs(draw), Batch(index=index))["crd/t"].sum()
        return sum(kept), sum(buffer.numel() for buffer in method.buffers())

    assert kept_elements(20) == kept_elements(10**9)
    assert kept_elements(20)[1] == 16 * 4 * 2 + 2 * 16 + 2 + 1


def test_only_training_remembers(draw):
    method = CRD(width=3, queue=5)
    pair = outputs(draw)
    method.build(*pair)
    method.eval()
    batch = Batch(index=torch.arange(4))
    torch.testing.assert_close(method.loss(*pair, batch), method.loss(*pair, batch))
    assert not method.adapters["t:h-h"].ready
    assert method.adapters["t:h-h"].indices.eq(-1).all()


def test_a_checkpoint_resumes_bit_for_bit(draw):
    def train(method, steps):
        return [method.loss(*pair, Batch(index=index))["crd/t"] for pair, index in steps]

    steps = [(outputs(draw), torch.arange(4) + 3 * step) for step in range(4)]
    method, resumed = CRD(width=3, queue=6), CRD(width=3, queue=6)
    for each in (method, resumed):
        each.build(*steps[0][0])
    train(method, steps[:2])
    resumed.load_state_dict(method.state_dict())
    for expected, got in zip(train(method, steps[2:]), train(resumed, steps[2:]), strict=True):
        assert torch.equal(expected, got)


def test_gradients_reach_student_and_projections_after_the_queue_moved_on(draw):
    method = CRD(width=3, queue=6)
    student, teachers = outputs(draw)
    student.features["h"].requires_grad_()
    method.build(student, teachers)
    losses = [method.loss(student, teachers, Batch(index=torch.arange(4) + i))["crd/t"].sum() for i in range(3)]
    sum(losses).backward()
    assert student.features["h"].grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in method.parameters())


def test_training_finds_the_partner(draw):
    """After some steps a student's embedding is nearest to its own sample's teacher embedding."""
    teacher = draw(32, 6).float()
    student = (teacher @ draw(6, 5).float()).tanh()
    torch.manual_seed(0)
    method = CRD(width=8, queue=16, temperature=0.2)
    pair = Output(features={"h": student}), {"t": Output(features={"h": teacher})}
    method.build(*pair)
    optimizer = torch.optim.Adam(method.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        method.loss(*pair, Batch(index=torch.arange(32)))["crd/t"].mean().backward()
        optimizer.step()
    contrast = method.adapters["t:h-h"]
    nearest = (contrast.students[:16] @ contrast.teachers[:16].T).argmax(1)
    assert nearest.eq(torch.arange(16)).float().mean() > 0.9


def test_a_batch_without_sample_ids_is_refused(draw):
    method = CRD()
    pair = outputs(draw)
    method.build(*pair)
    with pytest.raises(ValueError, match=r"crd needs the sample ids of the batch \(Batch.index\)"):
        method.loss(*pair, Batch())
