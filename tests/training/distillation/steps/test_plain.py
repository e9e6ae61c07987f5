import pytest
import torch

from training.distillation import Plain


def test_a_step_is_the_gradient_of_the_loss(distill, world, plain):
    distiller, example = distill({"kd": {}, "fitnet": {}}, {"name": "entropy"}), world.example()
    before = [p.detach().clone() for p in distiller.learnt_by_loss()]
    gradients = torch.autograd.grad(distiller(example).scalar(), distiller.learnt_by_loss())
    metrics = plain(distiller, rate=0.1)(example)
    for was, gradient, now in zip(before, gradients, distiller.learnt_by_loss(), strict=True):
        torch.testing.assert_close(now, was - 0.1 * gradient)
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    torch.testing.assert_close(metrics["gradient_norm"], norm)


def test_the_gradient_is_clipped(distill, world):
    distiller = distill()
    optimizer = torch.optim.SGD(distiller.learnt_by_loss(), lr=1.0)
    before = [p.detach().clone() for p in distiller.learnt_by_loss()]
    Plain(distiller, optimizer, clip_norm=1e-3)(world.example())
    moved = [now - was for was, now in zip(before, distiller.learnt_by_loss(), strict=True)]
    assert torch.stack([m.square().sum() for m in moved]).sum().sqrt().item() == pytest.approx(1e-3, rel=1e-2)


def test_metrics(distill, world, plain):
    metrics = plain(distill({"kd": {}}, {"name": "confidence"}))(world.example())
    assert set(metrics) >= {"loss", "task", "matching", "kd/t0", "weight/t3"}
    assert all(value.shape == () and not value.requires_grad for value in metrics.values())
    assert sum(metrics[f"weight/t{k}"] for k in range(4)).item() == pytest.approx(1)
    torch.testing.assert_close(metrics["loss"], metrics["task"] + metrics["matching"])


def test_the_meta_learned_stay_and_keep_no_gradient(distill, world, plain):
    distiller = distill(weigher={"name": "meta"})
    before = [p.detach().clone() for p in distiller.learnt_by_outer_step()]
    step = plain(distiller)
    step(world.example())
    once = [p.grad.clone() for p in distiller.learnt_by_outer_step() if p.grad is not None]
    step.model.zero_grad()
    distiller(world.example()).scalar().backward()
    assert all(torch.equal(was, now) for was, now in zip(before, distiller.learnt_by_outer_step(), strict=True))
    assert len(once) > 0


def test_a_checkpoint_of_other_steps_is_refused(distill, plain):
    with pytest.raises(ValueError, match="has the step 'meta' where this run has 'plain'"):
        plain(distill()).load_state_dict({"step": "meta"})
