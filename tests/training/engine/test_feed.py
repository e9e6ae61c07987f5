"""Which samples a step sees."""

import pytest
import torch

from tests.training.engine.toy import SPEAKERS, TalkTask, ToyTask
from training.data.units import Units
from training.engine.feed import HeldOutSource, Order, Source, split_held_out, stream
from training.engine.tables import RecipeError


def singles(count: int) -> Units:
    return Units.of(None, torch.arange(count))


def test_an_epoch_sees_every_sample_once() -> None:
    order = Order(singles(40), batch=8, seed=3)
    for epoch in range(3):
        seen = torch.cat([order.at(5 * epoch + step) for step in range(5)])
        assert sorted(seen.tolist()) == list(range(40))
    assert not torch.equal(order.at(0), order.at(5))


def test_the_order_depends_on_seed_and_step_alone() -> None:
    forward, anew = Order(singles(40), 8, seed=3), Order(singles(40), 8, seed=3)
    expected = [forward.at(step) for step in range(20)]
    assert torch.equal(anew.at(17), expected[17])
    assert torch.equal(anew.at(2), expected[2])
    assert not torch.equal(Order(singles(40), 8, seed=4).at(0), expected[0])


def test_the_smaller_last_batch_is_left_out() -> None:
    order = Order(singles(42), batch=8, seed=0)
    assert len(torch.cat([order.at(step) for step in range(5)]).unique()) == 40
    assert len(order.at(5)) == 8


def test_processes_share_a_batch() -> None:
    whole = Order(singles(40), 8, seed=3)
    parts = [Order(singles(40), 8, seed=3, rank=rank, processes=2) for rank in range(2)]
    for step in range(10):
        assert torch.equal(torch.cat([part.at(step) for part in parts]), whole.at(step))


@pytest.mark.parametrize(
    ("samples", "processes", "message"), [(4, 1, "more than the 4"), (40, 3, "samples do not divide")]
)
def test_a_batch_that_does_not_fit_is_refused(samples: int, processes: int, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Order(singles(samples), 8, seed=0, processes=processes)


def test_samples_for_themselves_are_drawn_as_a_permutation_of_positions() -> None:
    positions = torch.arange(100, 140)
    order = Order(Units.of(None, positions), batch=8, seed=3)
    for epoch in range(2):
        shuffled = positions[torch.randperm(40, generator=stream(3, "order", epoch))]
        for place in range(5):
            assert torch.equal(order.at(5 * epoch + place), shuffled[8 * place : 8 * place + 8])


@pytest.mark.parametrize("processes", [1, 2])
def test_conversations_are_drawn_whole_and_in_order(processes: int) -> None:
    samples = TalkTask().samples("train")
    unit = samples.unit
    assert unit is not None
    units = Units.of(unit, torch.arange(len(samples)))
    orders = [Order(units, 8, seed=3, rank=rank, processes=processes) for rank in range(processes)]
    steps = len(units) // 8
    seen: list[int] = []
    for step in range(steps):
        for order in orders:
            rows = order.at(step)
            drawn = torch.unique_consecutive(unit[rows]).tolist()
            assert len(drawn) == 8 // processes
            by_hand = [(unit == number).nonzero().squeeze(1) for number in drawn]
            assert torch.equal(rows, torch.cat(by_hand))
            seen += drawn
    assert len(set(seen)) == len(seen) == 8 * steps


def test_a_batch_of_more_conversations_than_there_are_is_refused() -> None:
    units = Units.of(torch.tensor([0, 0, 0, 1, 1, 1]), torch.arange(6))
    with pytest.raises(RecipeError, match=r"budget.batch: 4 is more than the 2 training conversations"):
        Order(units, 4, seed=0)


def test_the_gradient_of_processes_is_that_of_all_samples() -> None:
    units = Units.of(TalkTask().samples("train").unit, torch.arange(192))
    values = torch.rand(192, dtype=torch.float64)
    whole = Order(units, 4, seed=1)
    parts = [Order(units, 4, seed=1, rank=rank, processes=2) for rank in range(2)]
    assert any(len(parts[0].at(step)) != len(parts[1].at(step)) for step in range(10))
    for step in range(10):
        losses = [(part.sample_weight(step) * values[part.at(step)]).sum() for part in parts]
        torch.testing.assert_close(sum(losses) / 2, values[whole.at(step)].mean())


def test_whole_conversations_are_held_out() -> None:
    samples = TalkTask().samples("train")
    unit = samples.unit
    assert unit is not None
    kept, held = split_held_out(samples, 0.2, seed=1)
    assert len(unit[held].unique()) == round(0.2 * len(unit.unique()))
    assert not set(unit[kept].tolist()) & set(unit[held].tolist())
    assert sorted(torch.cat([kept, held]).tolist()) == list(range(len(samples)))
    with pytest.raises(RecipeError, match="conversations leaves nothing"):
        split_held_out(samples, 0.99, seed=1)


def test_held_out_conversations_are_fetched_whole() -> None:
    samples = TalkTask().samples("train")
    unit = samples.unit
    assert unit is not None
    held = split_held_out(samples, 0.2, seed=1)[1]
    source = Source(samples, {}, torch.device("cpu"), total_steps=9)
    held_out = HeldOutSource(source, Units.of(unit, held))
    numbers = torch.unique_consecutive(unit[held])
    assert len(held_out) == len(numbers)
    example = held_out.fetch([3, 0])
    expected = torch.cat([(unit == numbers[place]).nonzero().squeeze(1) for place in (3, 0)])
    assert example.batch.index is not None
    assert torch.equal(example.batch.index, expected)
    assert example.batch.unit is not None
    assert torch.equal(example.batch.unit, unit[expected])


def test_whole_speakers_are_held_out() -> None:
    samples = ToyTask().samples("train")
    kept, held = split_held_out(samples, 0.2, seed=1)
    speakers = samples.groups["speaker"]
    assert len(speakers[held].unique()) == round(0.2 * SPEAKERS)
    assert not set(speakers[kept].tolist()) & set(speakers[held].tolist())
    assert sorted(torch.cat([kept, held]).tolist()) == list(range(len(samples)))


def test_without_speakers_samples_are_held_out() -> None:
    samples = ToyTask().samples("train")
    samples.groups.pop("speaker")
    _, held = split_held_out(samples, 0.25, seed=1)
    assert len(held) == 48


def test_holding_everything_out_is_refused() -> None:
    with pytest.raises(RecipeError, match="leaves nothing to train on"):
        split_held_out(ToyTask().samples("train"), 0.99, seed=0)


def test_examples_hold_the_rows_of_their_samples() -> None:
    task = ToyTask()
    samples, good = task.samples("train"), task.teacher("good").outputs("train")
    source = Source(samples, {"good": good}, torch.device("cpu"), total_steps=9)
    index = torch.tensor([5, 0, 11])
    example = HeldOutSource(source, Units.of(None, torch.arange(100, 192))).fetch([2, 0])
    assert example.batch.index is not None
    assert example.batch.index.tolist() == [102, 100]
    example = source.example(index, step=4)
    assert samples.target is not None
    assert good.logits is not None
    assert (example.batch.step, example.batch.total_steps) == (4, 9)
    assert torch.equal(example.inputs["x"], samples.inputs["x"][index])
    assert torch.equal(example.batch.target, samples.target[index])
    assert torch.equal(example.teachers["good"].logits, good.logits[index])
    assert torch.equal(example.teachers["good"].features["h1"], good.features["h1"][index])


def test_streams_are_independent() -> None:
    draws = {
        tuple(torch.rand(3, generator=stream(*key)).tolist())
        for key in [(0, "a", 0), (0, "a", 1), (1, "a", 0), (0, "b", 0), (0, "a", 0, 1)]
    }
    assert len(draws) == 5
    assert torch.equal(torch.rand(3, generator=stream(0, "a", 0)), torch.rand(3, generator=stream(0, "a", 0)))
