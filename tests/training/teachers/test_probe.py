import pytest
import torch

from training.teachers.probe import ProbeRecipe, Procrustes, folds_of, out_of_fold

RECIPE = ProbeRecipe(hidden=16, seeds=2, steps=60, batch=32, dropout=(0.0, 0.1))


@pytest.fixture
def problem():
    """Three classes in ten dimensions, nine speakers."""
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(180) % 3
    centres = torch.randn(3, 10, generator=generator) * 2
    x = centres[target] + torch.randn(180, 10, generator=generator)
    unseen = torch.arange(30) % 3
    held_out = centres[unseen] + torch.randn(30, 10, generator=generator)
    return {"train": x, "valid": held_out, "test": held_out}, target, torch.arange(180) // 3 % 9, unseen


def test_a_speaker_has_one_fold():
    speakers = torch.tensor([7, 3, 7, 9, 3, 12])
    folds = folds_of(speakers, 2)
    assert folds[0] == folds[2]
    assert folds[1] == folds[4]
    assert sorted(folds.unique().tolist()) == [0, 1]


def test_outputs_are_right_and_out_of_fold(problem):
    x, target, speaker, unseen = problem
    fold = folds_of(speaker, 3)
    outputs = out_of_fold(x, target, fold, 3, RECIPE)
    assert (outputs["valid"].logits.argmax(1) == unseen).float().mean() > 0.8
    assert outputs["train"].features["penultimate"].shape == (180, 32)
    changed = target.clone()
    changed[fold == 1] = (changed[fold == 1] + 1) % 3
    deceived = out_of_fold(x, changed, fold, 3, RECIPE)["train"].logits
    assert torch.equal(outputs["train"].logits[fold == 1], deceived[fold == 1])
    assert not torch.equal(outputs["train"].logits[fold == 0], deceived[fold == 0])


def test_random_numbers_of_the_caller_are_left_alone(problem):
    x, target, speaker, _ = problem
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = out_of_fold(x, target, folds_of(speaker, 2), 3, RECIPE)["train"].logits
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, out_of_fold(x, target, folds_of(speaker, 2), 3, RECIPE)["train"].logits)


def test_folds_share_one_space(problem):
    """Samples of one class are near each other, whichever fold's net described them."""
    x, target, speaker, _ = problem
    fold = folds_of(speaker, 3)
    hidden = out_of_fold(x, target, fold, 3, RECIPE)["train"].features["penultimate"]
    distance = torch.cdist(hidden, hidden)
    other_fold = fold[:, None] != fold[None]
    same = target[:, None] == target[None]
    assert distance[other_fold & same].mean() < 0.8 * distance[other_fold & ~same].mean()


def test_procrustes_finds_a_rotation():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 6, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    y = x @ rotation + 3
    rotate = Procrustes.onto(x, y)
    torch.testing.assert_close(rotate(x), y, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rotate.rotation @ rotate.rotation.T, torch.eye(6), atol=1e-5, rtol=1e-5)
