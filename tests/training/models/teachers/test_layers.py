"""The shared layers, against packed sequences and attention written out for one query at a time."""

import pytest
import torch
from torch import nn

from tests.training.models.teachers.small import inputs_of
from training.models.conversation import Turns
from training.models.teachers.layers import AttentionLayer, AttentionStack, ContextLstm, Contexts
from training.models.teachers.utterances import Utterances

CONVERSATION = torch.tensor([0, 0, 0, 0, 1, 1, 2])


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("causal", [True, False])
def test_context_lstm_is_an_lstm_over_packed_sequences(causal, rng):
    torch.manual_seed(0)
    ours, theirs = ContextLstm(3, 8, causal), nn.LSTM(3, 8 if causal else 4, batch_first=True, bidirectional=not causal)
    state = dict(ours.forward_half.state_dict())
    if not causal:
        state |= {f"{key}_reverse": value for key, value in ours.backward_half.state_dict().items()}
    theirs.load_state_dict(state)
    turns = Turns.of(CONVERSATION)
    x = torch.randn(7, 3, generator=rng)
    packed = nn.utils.rnn.pack_padded_sequence(turns.pack(x), torch.tensor([4, 2, 1]), batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(turns.unpack(ours(turns.pack(x), turns)), turns.unpack(expected))


@pytest.mark.parametrize("causal", [True, False])
def test_contexts_know_what_they_could_hear(causal):
    present = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]]).float()
    inputs = inputs_of(present=present, conversation=(4, 4, 4, 9, 9))
    read = Utterances.of(inputs, {"audio": 5, "video": 4, "text": 6})
    states, known = Contexts({"audio": 5, "video": 4, "text": 6}, 8, causal, 0.0)(read)
    for column, name in enumerate(("audio", "video", "text")):
        for row, number in enumerate(inputs["conversation"].tolist()):
            heard = [i for i in range(5) if inputs["conversation"][i] == number and (i <= row or not causal)]
            expected = float(any(present[i, column] for i in heard))
            assert read.turns.unpack(known[name])[row] == expected
            assert bool(read.turns.unpack(states[name])[row].any()) == bool(expected)
        assert not known[name][read.turns.mask == 0].any()


def slowly(layer, x, source, mask):
    """One head and one query at a time, over the steps that are there only."""
    attention, out = layer.attention, x.clone()
    for b in range(len(x)):
        steps = source[b][mask[b] > 0]
        if len(steps) == 0:
            continue
        normed = layer.attention_norm(steps)
        keys, values = attention.key(normed), attention.value(normed)
        for q in range(x.shape[1]):
            query = attention.query(layer.attention_norm(x[b, q]))
            heads = []
            for part in torch.arange(x.shape[2]).chunk(attention.heads):
                weights = (keys[:, part] @ query[part] / len(part) ** 0.5).softmax(0)
                heads.append(weights @ values[:, part])
            out[b, q] = x[b, q] + attention.out(torch.cat(heads))
    first, _, _, second = layer.feed
    return out + second(first(layer.feed_norm(out)).relu())


@torch.no_grad()
def test_attention_layer_reads_the_steps_that_are_there(rng):
    torch.manual_seed(0)
    layer = AttentionLayer(8, 2, dropout=0.0).double()
    x = torch.randn(3, 4, 8, generator=rng, dtype=torch.float64)
    source = torch.randn(3, 5, 8, generator=rng, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).double()
    torch.testing.assert_close(layer(x, source, mask), slowly(layer, x, source, mask))


def test_a_stack_reads_its_source_in_every_layer_or_itself(rng):
    torch.manual_seed(0)
    stack = AttentionStack(2, 8, 2, dropout=0.0)
    first, second = stack.layers
    x, source, mask = torch.randn(2, 3, 8, generator=rng), torch.randn(2, 5, 8, generator=rng), torch.ones(2, 5)
    torch.testing.assert_close(stack(x, source, mask), second(first(x, source, mask), source, mask))
    there = torch.ones(2, 3)
    once = first(x, x, there)
    torch.testing.assert_close(stack(x, None, there), second(once, once, there))
