"""What belongs together stays together and in order."""

import pytest
import torch

from training.data.task import Samples
from training.data.units import Units

UNIT = torch.tensor([7, 7, 7, 2, 5, 5, 9, 9, 9, 9])


def rows_by_hand(unit: torch.Tensor, positions: list[int], chosen: list[int]) -> list[int]:
    numbers = list(dict.fromkeys(int(unit[p]) for p in positions))
    return [p for u in chosen for p in positions if int(unit[p]) == numbers[u]]


@pytest.mark.parametrize("positions", [list(range(10)), [0, 1, 2, 4, 5], [3], [4, 5, 6, 7, 8, 9, 3]])
def test_rows_of_units_against_a_search(positions: list[int]) -> None:
    units = Units.of(UNIT, torch.tensor(positions))
    for seed in range(5):
        chosen = torch.randperm(len(units), generator=torch.Generator().manual_seed(seed))
        assert units.rows(chosen).tolist() == rows_by_hand(UNIT, positions, chosen.tolist())
    assert units.rows(chosen[:0]).tolist() == []


def test_every_sample_for_itself() -> None:
    units = Units.of(None, torch.tensor([4, 2, 9]))
    assert (len(units), units.noun) == (3, "samples")
    assert units.rows(torch.tensor([2, 0])).tolist() == [9, 4]
    assert Units.of(UNIT, torch.arange(10)).noun == "conversations"


@pytest.mark.parametrize(
    ("limit", "ends"), [(1, [3, 4, 6, 10]), (4, [4, 6, 10]), (6, [6, 10]), (7, [6, 10]), (10, [10])]
)
def test_chunks_end_where_units_end(limit: int, ends: list[int]) -> None:
    chunks = Units.of(UNIT, torch.arange(10)).chunks(limit)
    assert [chunk.stop for chunk in chunks] == ends
    assert torch.cat([torch.arange(10)[chunk] for chunk in chunks]).tolist() == list(range(10))


def test_chunks_of_samples_are_full() -> None:
    chunks = Units.of(None, torch.arange(600)).chunks(256)
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [(0, 256), (256, 512), (512, 600)]
    assert Units.of(None, torch.arange(0)).chunks(256) == []


def test_a_scattered_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="samples of unit 7 don't stand together"):
        Units.of(UNIT, torch.tensor([0, 1, 3, 2]))


def test_samples_take_their_units_along() -> None:
    samples = Samples({"x": torch.arange(10)}, ids=[str(i) for i in range(10)], present=torch.ones(10, 3), unit=UNIT)
    taken = samples.take(torch.tensor([4, 5, 3]))
    assert taken.unit is not None
    assert taken.unit.tolist() == [5, 5, 2]
    assert Samples({}, ids=["a"], present=torch.ones(1, 3)).take(torch.tensor([0])).unit is None
