"""What each noise does, apart from being seeded and keeping shapes (test_tasks.py)."""

import math

import pytest
import torch

from contract.text import UNK_ID
from training.data import augment


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_noise_only_adds_power_and_leaves_half_alone(generator):
    logmel, mask = torch.randn(200, 20, 8), torch.ones(200, 20)
    noisy = augment.noisy(logmel, mask, generator)
    assert (noisy >= logmel - 1e-5).all()
    untouched = (noisy == logmel).flatten(1).all(1).float().mean()
    assert untouched == pytest.approx(1 - augment.NOISE_SHARE, abs=0.12)


def test_noise_is_measured_against_what_is_there(generator, monkeypatch):
    monkeypatch.setattr(augment, "NOISE_SHARE", 1.1)
    monkeypatch.setattr(augment, "SNR_DB", (20.0, 20.0))
    quiet = -30.0
    logmel, mask = torch.full((400, 10, 8), quiet), torch.zeros(400, 10)
    logmel[:, :5], mask[:, :5] = 0.0, 1.0
    noise = augment.noisy(logmel, mask, generator)[:, 5:]
    expected = -20 * math.log(10) / 10
    assert noise.mean() == pytest.approx(expected, abs=0.1)


def test_gain_moves_a_clip_as_a_whole(generator):
    logmel = torch.randn(50, 6, 4)
    change = augment.louder(logmel, generator) - logmel
    assert change.flatten(1).std(1).max() < 1e-5
    limit = augment.GAIN_DB * math.log(10) / 10
    assert change.abs().max() <= limit
    assert change.max() > limit / 2
    assert change.min() < -limit / 2


def test_spec_augment_hides_bands_and_stretches(generator):
    logmel = torch.randn(60, 40, 24)
    hidden = augment.spec_augment(logmel, generator, band=4, stretch=6) != logmel
    mean = logmel.mean((1, 2))
    for i in range(60):
        assert torch.equal(hidden[i], hidden[i].all(1)[:, None] | hidden[i].all(0)[None])
        assert hidden[i].all(0).sum() <= 8
        assert hidden[i].all(1).sum() <= 12
    shown = augment.spec_augment(logmel, torch.Generator().manual_seed(1), 4, 6)
    changed = (shown != logmel).nonzero()[0]
    torch.testing.assert_close(shown[tuple(changed)], mean[changed[0]])


def test_faces_are_mirrored_whole(generator):
    face = torch.rand(100, 12, 12) * 255
    flipped = augment.flipped(face, generator)
    same = (flipped == face).flatten(1).all(1)
    mirrored = (flipped == face.flip(2)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 30 < same.sum() < 70


def test_faces_move_and_repeat_their_border(generator):
    ramp = torch.arange(12.0).expand(64, 12, 12)
    moved = augment.shifted(ramp, generator, most=2)
    offsets = moved[:, 0, 5] - 5
    assert set(offsets.tolist()) == {-2, -1, 0, 1, 2}
    for row, offset in zip(moved, offsets, strict=True):
        assert torch.equal(row[0], (torch.arange(12.0) + offset).clamp(0, 11))
    assert torch.equal(augment.shifted(ramp, generator, most=0), ramp)


def test_light_changes_and_stays_in_range(generator):
    face = torch.rand(50, 8, 8) * 255
    lit = augment.relit(face, generator)
    assert lit.min() >= 0
    assert lit.max() <= 255
    assert (lit.mean((1, 2)) - face.mean((1, 2))).std() > 10


def test_a_rectangle_is_erased(generator):
    face = torch.rand(200, 24, 24) * 255
    erased = augment.erased(face, generator) != face
    for patch in erased[erased.flatten(1).any(1)]:
        rows, columns = patch.any(1), patch.any(0)
        assert torch.equal(patch, rows[:, None] & columns[None])
        assert rows.sum() <= 8
        assert columns.sum() <= 8
    assert 0.2 < erased.flatten(1).any(1).float().mean() < 0.55


def test_words_are_dropped_but_not_the_frame(generator):
    ids = torch.arange(10, 22).expand(500, 12).int()
    mask = (torch.arange(12) < torch.arange(500)[:, None] % 12 + 1).to(torch.uint8)
    dropped = augment.dropped_words(ids, mask, generator, share=0.5) != ids
    lengths = mask.sum(1).long()
    place = torch.arange(12)
    inner = (place > 0) & (place < lengths[:, None] - 1)
    assert not dropped[~inner].any()
    assert dropped[inner].float().mean() == pytest.approx(0.5, abs=0.05)
    assert (augment.dropped_words(ids, mask, generator, 1.0)[inner] == UNK_ID).all()
    assert dropped.dtype == torch.bool


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_noise():
    logmel, mask = torch.randn(8, 20, 6), torch.ones(8, 20)
    here = augment.noisy(logmel, mask, torch.Generator().manual_seed(0))
    there = augment.noisy(logmel.cuda(), mask.cuda(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(here, there.cpu())
