import pytest
import torch

from training.distillation.steps.buffer import HardBuffer


def test_it_takes_everything_until_it_is_full_and_then_the_hard():
    draw, buffer = torch.Generator().manual_seed(0), HardBuffer(4)
    buffer.offer([1, 2, 3], [False, False, False], draw)
    assert buffer.indices == [1, 2, 3]
    buffer.offer([3, 4, 5, 6], [True, False, False, True], draw)
    assert len(buffer.indices) == len(set(buffer.indices)) == 4
    assert 6 in buffer.indices
    assert 5 not in buffer.indices


def test_in_the_end_only_hard_ones_are_left():
    draw, buffer = torch.Generator().manual_seed(0), HardBuffer(8)
    for _ in range(60):
        candidates = torch.randperm(100, generator=draw)[:10].tolist()
        buffer.offer(candidates, [index < 30 for index in candidates], draw)
    assert all(index < 30 for index in buffer.indices)


def test_samples_are_different_indices_out_of_it():
    draw, buffer = torch.Generator().manual_seed(0), HardBuffer(10)
    buffer.offer(range(10), [False] * 10, draw)
    seen = [index for _ in range(100) for index in buffer.sample(3, draw)]
    assert set(seen) == set(range(10))
    assert sorted(buffer.sample(99, draw)) == list(range(10))


def test_no_room_is_refused():
    with pytest.raises(ValueError, match="room for at least one sample, got 0"):
        HardBuffer(0)
