"""What is particular to each large net: which modality hears which, what codes share, which hyperedges carry."""

import torch
from torch import nn

from contract.labels import MODALITIES
from tests.training.models.teachers.small import CONVERSATION, VALUES, WIDTHS, inputs_of
from training.models.hypergraph import KINDS
from training.models.teachers import BcLstm, DmdNet, MulT
from training.models.teachers.hypergraph_net import HypergraphNet
from training.models.teachers.mult import positions


def heard_from(model, inputs, feature, modality):
    """Whether a feature of utterance 2 depends on a modality of each utterance of its conversation, five flags."""
    inputs = inputs | {modality: inputs[modality].clone().requires_grad_()}
    (gradient,) = torch.autograd.grad(
        model(inputs).features[feature][2].square().sum(), inputs[modality], allow_unused=True
    )
    return [False] * 5 if gradient is None else (gradient[:5].abs().sum(1) > 0).tolist()


def test_bc_lstm_fuses_only_after_the_memories():
    torch.manual_seed(0)
    model = BcLstm(WIDTHS, VALUES, width=8).eval()
    for target in MODALITIES:
        for source in MODALITIES:
            assert heard_from(model, inputs_of(), target, source) == [target == source] * 5
        assert heard_from(model, inputs_of(), "penultimate", target) == [True] * 5


def test_a_causal_bc_lstm_hears_the_past_alone():
    torch.manual_seed(0)
    model = BcLstm(WIDTHS, VALUES, width=8, causal=True).eval()
    assert heard_from(model, inputs_of(), "penultimate", "text") == [True, True, True, False, False]


def test_mult_crosses_every_pair_of_modalities():
    assert set(MulT(WIDTHS, VALUES, width=8).crossed) == {
        f"{source}_{target}" for source in MODALITIES for target in MODALITIES if source != target
    }
    assert set(MulT({"audio": 5, "text": 6}, VALUES, width=8).crossed) == {"audio_text", "text_audio"}
    torch.manual_seed(0)
    model = MulT(WIDTHS, VALUES, width=8).eval()
    for target in MODALITIES:
        for source in MODALITIES:
            assert heard_from(model, inputs_of(), target, source) == [True] * 5


def test_mult_knows_the_order_of_utterances():
    torch.manual_seed(0)
    model, inputs = MulT(WIDTHS, VALUES, width=8).eval(), inputs_of()
    order = torch.tensor([4, 3, 2, 1, 0, 5, 6, 7])
    turned = model({key: value[order] for key, value in inputs.items()})
    assert (turned.logits[order] - model(inputs).logits)[:5].abs().max() > 1e-4


def test_positions_are_sinusoids():
    table = positions(7, 6)
    for step in range(7):
        for channel in range(3):
            angle = torch.tensor(step / 10_000 ** (channel / 3))
            torch.testing.assert_close(table[step, channel], angle.sin())
            torch.testing.assert_close(table[step, 3 + channel], angle.cos())
    assert positions(2, 5).shape == (2, 5)


def test_a_weight_of_zero_takes_a_kind_of_hyperedge_away():
    """Without memories each node hears its context through the first kinds, and its utterance through the last."""

    class Forgetful(nn.Module):
        def forward(self, read):
            there = dict.fromkeys(read.x, read.turns.mask)
            return {name: read.turns.pack(x[:, :4].repeat(1, 2)) for name, x in read.x.items()}, there

    torch.manual_seed(0)
    model = HypergraphNet(WIDTHS, VALUES, width=8, layers=1).eval()
    model.contexts = Forgetful()
    with torch.no_grad():
        model.log_weights[:, KINDS.index("utterance")] = -torch.inf
    for source in MODALITIES:
        assert heard_from(model, inputs_of(), "text", source) == [source == "text"] * 5
    with torch.no_grad():
        model.log_weights.fill_(-torch.inf)
        model.log_weights[:, KINDS.index("utterance")] = 0.0
    for source in MODALITIES:
        assert heard_from(model, inputs_of(), "text", source) == [False, False, True, False, False]


def test_the_codes_of_dmd_are_those_of_its_encoders():
    torch.manual_seed(0)
    model = DmdNet(WIDTHS, VALUES, width=8).eval()
    features = model(inputs_of()).features
    assert all(features[f"{name}.input"].shape == (len(CONVERSATION), 8) for name in MODALITIES)
    for name in MODALITIES:
        x, common, private = (features[f"{name}.{part}"] for part in ("input", "common", "private"))
        torch.testing.assert_close(common, x @ model.common.weight.T)
        torch.testing.assert_close(private, x @ model.private[name].weight.T)
        torch.testing.assert_close(features[name], torch.cat([common, private], dim=1))
        reconstructed = model.decode[name](features[name])
        torch.testing.assert_close(features[f"{name}.reconstructed"], reconstructed)
        torch.testing.assert_close(features[f"{name}.cycled"], reconstructed @ model.private[name].weight.T)
