"""Packing rows into conversations, against loops over rows."""

import pytest
import torch

from training.models.conversation import Turns

CONVERSATIONS = {
    "three": [4, 4, 4, 7, 2, 2],
    "one": [3, 3],
    "each its own": [5, 1, 9],
    "not together": [1, 0, 1, 0, 0],
    "large numbers": [10**12, 10**12, 7],
    "none": [],
}


def slowly(conversation, x):
    groups = {}
    for number, row in zip(conversation, x, strict=True):
        groups.setdefault(number, []).append(row)
    return [torch.stack(groups[number]) for number in sorted(groups)]


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_pack_stands_where_a_loop_would_put_it(conversation):
    x = torch.randn(len(conversation), 3, generator=torch.Generator().manual_seed(0))
    turns = Turns.of(torch.tensor(conversation, dtype=torch.int64))
    packed, expected = turns.pack(x), slowly(conversation, x)
    longest = max((len(rows) for rows in expected), default=0)
    assert packed.shape == (len(expected), longest, 3)
    for number, rows in enumerate(expected):
        torch.testing.assert_close(packed[number, : len(rows)], rows, atol=0, rtol=0)
        assert not packed[number, len(rows) :].any()
        assert turns.mask[number].tolist() == [1.0] * len(rows) + [0.0] * (longest - len(rows))
    torch.testing.assert_close(turns.unpack(packed), x, atol=0, rtol=0)


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_reverse_turns_each_conversation_round_and_is_its_own_inverse(conversation):
    x = torch.randn(len(conversation), 3, generator=torch.Generator().manual_seed(0))
    turns = Turns.of(torch.tensor(conversation, dtype=torch.int64))
    backwards = turns.reverse(turns.pack(x))
    for number, rows in enumerate(slowly(conversation, x)):
        torch.testing.assert_close(backwards[number, : len(rows)], rows.flip(0), atol=0, rtol=0)
    torch.testing.assert_close(turns.unpack(turns.reverse(backwards)), x, atol=0, rtol=0)


def test_rows_of_any_shape_and_type():
    turns = Turns.of(torch.tensor([0, 0, 1]))
    for x in (torch.arange(3), torch.ones(3, 2, 4, dtype=torch.float64), torch.tensor([True, False, True])):
        packed = turns.pack(x)
        assert packed.dtype == x.dtype
        assert packed.shape == (2, 2, *x.shape[1:])
        assert torch.equal(turns.unpack(packed), x)


def test_gradients_of_gradients_exist():
    turns = Turns.of(torch.tensor([1, 1, 0, 0, 0]))
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def there_and_back(x):
        return turns.unpack(turns.reverse(turns.pack(x)).square().cumsum(1))

    assert torch.autograd.gradcheck(there_and_back, x)
    assert torch.autograd.gradgradcheck(there_and_back, x)
