"""Nets of the task as teachers, out of fold."""

import pytest
import torch

from training.tasks.base import Samples
from training.tasks.face_students import ResidualStudent
from training.tasks.text_students import LstmStudent
from training.tasks.trained import NetRecipe, out_of_fold_nets, outputs_of, train_net

RECIPE = NetRecipe(epochs=15, learning_rate=1e-2, batch=16)
VALUES = (-1.0, 1.0)


def same(inputs, _):
    return inputs


def faces(count: int) -> Samples:
    generator = torch.Generator().manual_seed(count)
    target = torch.arange(count) % 2
    face = torch.randint(0, 100, (count, 48, 48), generator=generator, dtype=torch.uint8)
    face[target == 1, :, :24] += 100
    return Samples({"face": face}, target, ids=[str(i) for i in range(count)], present=torch.ones(count, 3))


def texts(count: int) -> Samples:
    target = torch.arange(count) % 2
    ids = torch.full((count, 8), 9, dtype=torch.int32)
    ids[:, 2] = 20 + target
    mask = (torch.arange(8) < 4 + torch.arange(count)[:, None] % 3).to(torch.uint8)
    inputs = {"ids": ids, "ids_mask": mask}
    return Samples(inputs, target, ids=[str(i) for i in range(count)], present=torch.ones(count, 3))


def face_net():
    return ResidualStudent(VALUES, (4, 8, 8, 8))


def text_net():
    return LstmStudent(VALUES, width=16)


@pytest.mark.parametrize(("make", "corpus"), [(face_net, faces), (text_net, texts)])
def test_what_a_net_says_of_its_fold_does_not_depend_on_the_fold_s_labels(make, corpus):
    samples = {"train": corpus(64), "valid": corpus(16), "test": corpus(16)}
    fold = torch.arange(64) // 2 % 2
    outputs = out_of_fold_nets(make, samples, fold, same, RECIPE)
    wrong = torch.where(fold == 1, 1 - samples["train"].target, samples["train"].target)
    train = samples["train"]
    deceived = samples | {"train": Samples(train.inputs, wrong, ids=train.ids, present=train.present)}
    other = out_of_fold_nets(make, deceived, fold, same, RECIPE)
    assert torch.equal(outputs["train"].logits[fold == 1], other["train"].logits[fold == 1])
    assert not torch.equal(outputs["train"].logits[fold == 0], other["train"].logits[fold == 0])
    assert (outputs["test"].logits.argmax(1) == samples["test"].target).float().mean() > 0.8
    for name, feature in outputs["train"].features.items():
        assert feature.isfinite().all()
        assert feature.shape[1:] == outputs["test"].features[name].shape[1:]
        mask = outputs["train"].masks.get(name)
        if mask is not None:
            assert not feature[mask == 0].any()


def test_folds_share_the_space_of_the_whole():
    samples = {"train": faces(64), "valid": faces(8), "test": faces(8)}
    outputs = out_of_fold_nets(face_net, samples, torch.arange(64) // 2 % 2, same, RECIPE)
    whole = outputs["test"].features["penultimate"]
    folds = outputs["train"].features["penultimate"]
    centres = [folds[samples["train"].target == k].mean(0) for k in (0, 1)]
    nearest = torch.stack([(whole - centre).norm(dim=1) for centre in centres]).argmin(0)
    assert (nearest == samples["test"].target).float().mean() > 0.8


def test_training_is_seeded_and_leaves_the_caller_s_numbers_alone():
    corpus = faces(32)
    torch.manual_seed(5)
    first = train_net(face_net(), corpus, same, RECIPE)
    torch.manual_seed(5)
    again = train_net(face_net(), corpus, same, RECIPE)
    torch.testing.assert_close(outputs_of(first, corpus.inputs).logits, outputs_of(again, corpus.inputs).logits)
    assert not first.training


def test_outputs_in_parts_are_the_outputs_of_the_whole():
    torch.manual_seed(0)
    net, corpus = text_net().eval(), texts(21)
    parts, whole = (outputs_of(net, corpus.inputs, batch) for batch in (4, 100))
    torch.testing.assert_close(parts.logits, whole.logits)
    assert parts.features["h2"].dtype == torch.float16
    assert torch.equal(parts.masks["h1"], whole.masks["h1"])
