"""The two cores: presence, gates, and what flows between modalities."""

import itertools

import pytest
import torch

from training.models.teachers.cores import BottleneckFusion, BottleneckLayer, GatedFusion

SLOTS = (4, 1, 3)
CORES = pytest.mark.parametrize("kind", [GatedFusion, BottleneckFusion])


def made(kind):
    torch.manual_seed(0)
    return kind(SLOTS, 8, 0.3).eval()


def tokens_of(seed=0):
    rng = torch.Generator().manual_seed(seed)
    masks = [(torch.rand(6, count, generator=rng) < 0.7).float() for count in SLOTS]
    for mask in masks:
        mask[0], mask[1] = 1.0, 0.0
    return [torch.randn(6, count, 8, generator=rng) for count in SLOTS], masks


@CORES
@pytest.mark.parametrize("subset", list(itertools.product((0.0, 1.0), repeat=3)))
def test_every_subset_has_a_gate_over_what_is_present(kind, subset):
    core, (tokens, masks) = made(kind), tokens_of()
    mixed = core(tokens, [mask * there for mask, there in zip(masks, subset, strict=True)])
    present = torch.stack([mask.amax(1) * there for mask, there in zip(masks, subset, strict=True)], dim=1)
    assert mixed.fused.shape == (6, 8)
    assert mixed.fused.isfinite().all()
    assert (mixed.contribution >= 0).all()
    torch.testing.assert_close(mixed.contribution.sum(1), present.amax(1))
    assert not mixed.contribution[present == 0].any()
    for state, there in zip(mixed.states, present.T, strict=True):
        assert not state[there == 0].any()
    shares = sum(g.unsqueeze(1) * z for g, z in zip(mixed.contribution.T, mixed.states, strict=True))
    torch.testing.assert_close(mixed.fused, shares)


@CORES
def test_masked_tokens_reach_neither_value_nor_gradient(kind):
    core, (tokens, masks) = made(kind), tokens_of()
    expected = core(tokens, masks).fused
    for x, mask in zip(tokens, masks, strict=True):
        x[mask == 0] = torch.nan
        x.requires_grad_()
    fused = core(tokens, masks).fused
    torch.testing.assert_close(fused, expected, atol=0, rtol=0)
    fused.square().sum().backward()
    for x, mask in zip(tokens, masks, strict=True):
        assert x.grad.isfinite().all()
        assert not x.grad[mask == 0].any()
        assert x.grad[mask == 1].any()
    assert all(parameter.grad.isfinite().all() for parameter in core.parameters())


@CORES
def test_an_item_alone_equals_the_item_in_a_batch(kind):
    core, (tokens, masks) = made(kind), tokens_of()
    together = core(tokens, masks)
    for i in range(6):
        alone = core([x[i : i + 1] for x in tokens], [mask[i : i + 1] for mask in masks])
        torch.testing.assert_close(alone.fused[0], together.fused[i])
        torch.testing.assert_close(alone.contribution[0], together.contribution[i])


@CORES
def test_the_order_of_tokens_matters(kind):
    core, (tokens, masks) = made(kind), tokens_of()
    swapped = [x.flip(1) for x in tokens]
    difference = (core(swapped, masks).fused - core(tokens, masks).fused)[0].abs().max()
    assert difference > 1e-5


@torch.no_grad()
def test_gated_fusion_is_its_formula():
    core, (tokens, masks) = made(GatedFusion), tokens_of()
    mixed = core(tokens, masks)
    for b in range(6):
        states = []
        for m, (x, mask) in enumerate(zip(tokens, masks, strict=True)):
            placed = (x[b] + core.positions[m])[mask[b] > 0]
            if len(placed) == 0:
                states.append(torch.zeros(8))
                continue
            weights = (placed @ core.question[m] / 8**0.5).softmax(0)
            states.append(torch.tanh(core.value[m](weights @ placed)))
        present = [m for m in range(3) if masks[m][b].any()]
        scores = core.gate(torch.cat(states))
        gates = scores[present].softmax(0) if present else []
        fused = sum((g * states[m] for g, m in zip(gates, present, strict=True)), start=torch.zeros(8))
        torch.testing.assert_close(mixed.fused[b], fused)


def test_gated_fusion_of_single_tokens_has_nothing_to_pick():
    core = GatedFusion((1, 1), 8, 0.0)
    assert core.question is None
    x = [torch.ones(2, 1, 8), torch.zeros(2, 1, 8)]
    mixed = core(x, [torch.ones(2, 1), torch.zeros(2, 1)])
    torch.testing.assert_close(mixed.fused, torch.tanh(core.value[0]((x[0] + core.positions[0])[:, 0])))


def test_modalities_talk_through_the_bottlenecks_alone_and_one_layer_later():
    core, (tokens, masks) = made(BottleneckFusion), tokens_of()
    tokens[0].requires_grad_()
    there = torch.stack([mask.amax(1) for mask in masks], dim=1)
    both = (there[:, 0] * there[:, 2]) == 1
    between = core.bottlenecks.expand(6, -1, -1)
    once, heard = core.layers[0](tokens, masks, between, there)
    twice, _ = core.layers[1](once, masks, heard, there)
    for after, hears in ((once[2], False), (twice[2], True)):
        (gradient,) = torch.autograd.grad(after[both].square().sum(), tokens[0], allow_unused=True, retain_graph=True)
        assert (gradient is not None and bool(gradient.any())) == hears


def test_bottlenecks_are_the_mean_over_those_that_are_there():
    torch.manual_seed(0)
    layer = BottleneckLayer(2, 8, 2, 0.0)
    rng = torch.Generator().manual_seed(0)
    tokens, between = [torch.randn(3, 2, 8, generator=rng) for _ in range(2)], torch.randn(3, 4, 8, generator=rng)
    masks = [torch.tensor([[1.0, 1], [0, 0], [0, 0]]), torch.tensor([[1.0, 0], [1, 1], [0, 0]])]
    there = torch.stack([mask.amax(1) for mask in masks], dim=1)
    _, mean = layer(tokens, masks, between, there)
    heard = []
    for block, x, mask in zip(layer.blocks, tokens, masks, strict=True):
        joined = torch.cat([x, between], dim=1)
        heard.append(block(joined, joined, torch.cat([mask, torch.ones(3, 4)], dim=1))[:, 2:])
    torch.testing.assert_close(mean[0], (heard[0][0] + heard[1][0]) / 2)
    torch.testing.assert_close(mean[1], heard[1][1])
    torch.testing.assert_close(mean[2], between[2])
