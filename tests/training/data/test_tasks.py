"""What holds for every task: shapes, masks, students, augmentation, errors."""

import pytest
import torch

from training.data.fer2013 import Fer2013
from training.data.ravdess import Ravdess
from training.data.sst import Sst2, Sst5
from training.data.tasks import TASKS

NAMES = ("ravdess", "fer2013", "sst2", "sst5")
STUDENTS = [(name, student) for name in NAMES for student in TASKS[name].student_names if student != "warm"]
TEACHERS = {"ravdess": "action_units", "fer2013": "random", "sst2": "vader", "sst5": "random"}


@pytest.fixture(scope="session")
def tasks(tiny, cache):
    return {
        "ravdess": Ravdess(tiny, cache),
        "fer2013": Fer2013(tiny, cache, train_faces=70),
        "sst2": Sst2(tiny, cache),
        "sst5": Sst5(tiny, cache),
    }


@pytest.mark.parametrize("name", NAMES)
def test_samples_agree_with_each_other(tasks, name):
    task = tasks[name]
    seen: set[str] = set()
    for split in ("train", "valid", "test"):
        samples = task.samples(split)
        count = len(samples)
        assert count == len(samples.ids) == len(set(samples.ids)) == len(samples.target) == len(samples.score)
        assert all(len(tensor) == count for tensor in (*samples.inputs.values(), *samples.groups.values()))
        assert samples.present.shape == (count, 3)
        assert (samples.present.sum(1) == 1).all(), "one modality"
        assert 0 <= samples.target.min() <= samples.target.max() < len(task.labels)
        assert samples.score.abs().max() <= 1
        for key, tensor in samples.inputs.items():
            if key.endswith("_mask"):
                assert set(tensor.unique().tolist()) <= {0, 1}
                assert tensor.shape == samples.inputs[key.removesuffix("_mask")].shape[:2]
        assert not seen & set(samples.ids)
        seen |= set(samples.ids)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_taken_in_order(tasks, name):
    samples = tasks[name].samples("train")
    part = samples.take(torch.tensor([5, 2]))
    assert part.ids == [samples.ids[5], samples.ids[2]]
    assert torch.equal(part.target, samples.target[[5, 2]])
    for key, tensor in part.inputs.items():
        assert torch.equal(tensor[1], samples.inputs[key][2])


@pytest.mark.parametrize(("name", "student"), STUDENTS)
def test_students_give_logits_scores_and_features(tasks, name, student):
    task = tasks[name]
    torch.manual_seed(0)
    net = task.student(student).train()
    inputs = {key: tensor[:6] for key, tensor in task.samples("train").inputs.items()}
    for read in (inputs, task.augment(inputs, torch.Generator().manual_seed(0))):
        output = net(read)
        assert output.logits.shape == (6, len(task.labels))
        assert output.score.shape == (6,)
        assert output.score.abs().max() <= 1
        assert next(iter(output.features)) == "h1"
        assert list(output.features)[-1] == "penultimate"
        for layer, mask in output.masks.items():
            assert mask.shape == output.features[layer].shape[:2]
    (output.logits.logsumexp(1).mean() + output.score.mean()).backward()
    without = [key for key, parameter in net.named_parameters() if parameter.grad is None]
    assert without in ([], ["norm.weight", "norm.bias"]), "every parameter is trained by the logits alone"


@pytest.mark.parametrize(("name", "student"), STUDENTS)
def test_padding_and_the_rest_of_the_batch_change_nothing(tasks, name, student):
    task = tasks[name]
    torch.manual_seed(0)
    net = task.student(student).eval()
    inputs = {key: tensor[:5].clone() for key, tensor in task.samples("valid").inputs.items()}
    together = net(inputs)
    alone = net({key: tensor[2:3] for key, tensor in inputs.items()})
    torch.testing.assert_close(alone.logits[0], together.logits[2], atol=1e-5, rtol=1e-5)
    for layer in together.features:
        torch.testing.assert_close(alone.features[layer][0], together.features[layer][2], atol=1e-5, rtol=1e-4)
    for key in [key for key in inputs if f"{key}_mask" in inputs]:
        hidden = inputs[f"{key}_mask"] == 0
        inputs[key][hidden] = 7
    torch.testing.assert_close(net(inputs).logits, together.logits, atol=1e-5, rtol=1e-5)


def test_students_have_a_bench_size(tasks):
    for name, task in tasks.items():
        count = sum(p.numel() for key, p in task.student().named_parameters() if key != "pieces.weight")
        assert 50_000 < count < 450_000, name


@pytest.mark.parametrize("name", NAMES)
def test_augmentation_is_seeded_and_keeps_shapes(tasks, name):
    task = tasks[name]
    inputs = {key: tensor[:8] for key, tensor in task.samples("train").inputs.items()}
    before = {key: tensor.clone() for key, tensor in inputs.items()}
    first, again, other = (task.augment(inputs, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    changed = False
    for key, tensor in first.items():
        assert tensor.shape == inputs[key].shape
        assert tensor.float().isfinite().all()
        assert torch.equal(tensor, again[key])
        assert torch.equal(inputs[key], before[key]), "the samples themselves stay as they are"
        changed |= not torch.equal(tensor, other[key])
    assert changed


@pytest.mark.parametrize("name", NAMES)
def test_unknown_names_are_answered_with_the_nearest(tasks, name):
    task = tasks[name]
    with pytest.raises(ValueError, match="no student 'defualt': did you mean 'default'"):
        task.student("defualt")
    with pytest.raises(ValueError, match="no teacher 'randon': did you mean 'random'"):
        task.teacher("randon")
    with pytest.raises(ValueError, match="no teacher 'qqq': there are"):
        task.teacher("qqq")


@pytest.mark.parametrize("name", NAMES)
def test_a_random_teacher_is_always_the_same_and_knows_nothing(tasks, name):
    task = tasks[name]
    first, again = (task.teacher("random").outputs("train") for _ in range(2))
    count = len(task.samples("train"))
    assert first.logits.shape == (count, len(task.labels))
    assert torch.equal(first.logits, again.logits)
    assert not torch.equal(first.logits[:10], task.teacher("random").outputs("valid").logits[:10])
    assert all(len(feature) == count for feature in first.features.values())


@pytest.mark.parametrize("name", NAMES)
def test_fingerprints_follow_the_data(tasks, name):
    assert tasks[name].fingerprint() == TASKS[name](tasks[name].data).fingerprint() or name == "fer2013"
    assert len({task.fingerprint() for task in tasks.values()}) == len(tasks)
